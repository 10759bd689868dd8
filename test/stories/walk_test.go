package stories

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/script"
)

// reading are the commands that change nothing, so that they can be typed again until
// they show what was to come. Others are typed once.
var reading = regexp.MustCompile(`^(pointsman (status|services|backends|doctor|explain|plan|top|events|overrides|version|check)\b|for |curl |ip |ls )`)

func TestPrivilegedTheWalkThroughTheDocumentGoesAsWritten(t *testing.T) {
	s := open(t, lab.Options{Backends: 2})
	s.must(s.StartConsul(t.Context(), t.Logf))
	w := newWalker(s, s.Lab.Client, s.Lab.Router, s.Lab.Balancer, s.backend(1), s.backend(2))
	text, err := os.ReadFile("../../docs/walk.md")
	s.must(err)
	steps := script.Steps(string(text))
	if len(steps) < 30 {
		t.Fatalf("it has only %d steps", len(steps))
	}
	for _, step := range steps {
		h := w.homes[step.Host]
		if h == nil {
			t.Fatalf("line %d: there is no host %s", step.Line, step.Host)
		}
		if step.File != "" {
			cmd := w.at(h, "sh", "-c", `printf %s "$1" > "$2"`, "sh", step.Content, step.File)
			process, err := h.Start(cmd)
			s.must(err)
			s.must(process.Wait())
			continue
		}
		w.does(h, step)
	}
}

// does types a line, until what it shows is as it should be.
func (w *walker) does(h *home, step script.Step) {
	w.t.Helper()
	if strings.HasSuffix(step.Command, " &") {
		w.begins(h, step)
		return
	}
	again := reading.MatchString(step.Command)
	err := w.eventually(func() error {
		said := w.types(h, step.Command)
		if script.Shows(step.Want, said) {
			w.t.Logf("%s# %s\n%s", step.Host, step.Command, said)
			return nil
		}
		err := fmt.Errorf("docs/walk.md:%d: on %s, %q shows\n%s", step.Line, step.Host, step.Command, said)
		if !again {
			w.t.Fatal(err)
		}
		return err
	})
	w.must(err)
}

// eventually waits until there is no problem any more.
func (w *walker) eventually(problem func() error) error {
	deadline := time.After(patience)
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		err := problem()
		if err == nil {
			return nil
		}
		select {
		case <-deadline:
			return err
		case <-tick.C:
		}
	}
}
