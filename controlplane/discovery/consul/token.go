package consul

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// tokens reads token files for every request, so that a rotated token is in use
// at the next one. A file that is missing or empty for a moment, as when it is
// being rewritten, leaves the last token in use: asking without one would get
// an empty list instead of an error.
type tokens struct {
	mu   sync.Mutex
	last map[string]string // by path
}

func (t *tokens) read(path string) (string, error) {
	text, err := os.ReadFile(path)
	token := strings.TrimSpace(string(text))

	t.mu.Lock()
	defer t.mu.Unlock()
	if token != "" {
		if t.last == nil {
			t.last = map[string]string{}
		}
		t.last[path] = token
		return token, nil
	}
	if kept := t.last[path]; kept != "" {
		return kept, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the Consul token: %w", err)
	}
	return "", fmt.Errorf("reading the Consul token: %s is empty", path)
}
