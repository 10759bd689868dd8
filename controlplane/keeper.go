package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/statedir"
)

// keeper keeps on disk what is known, beside the loop, because a disk may take
// its time. What it cannot write it tries to write again.
type keeper struct {
	path string
	log  *slog.Logger
	poke chan struct{}

	mu       sync.Mutex
	known    lastKnown // the last word
	dirty    bool      // it says something else than the file
	aged     bool      // only confirmations in it are newer
	wrote    time.Time
	took     time.Duration
	writings int   // so far
	trouble  error // why the file could not be written the last time; nil if it was
}

// The pauses between two writings of the file.
const (
	// keepGap lets a burst of changes be one writing. At least keepShare times as
	// long is waited as the last one took, so that keeping never fills a day.
	keepGap   = 100 * time.Millisecond
	keepShare = 20
	// keepAge is how old the times of confirmation in the file may be.
	keepAge = 5 * time.Minute
	// keepRetry is the pause after a failure.
	keepRetry = 10 * time.Second
)

// openKeeper reads what an earlier daemon kept. A file that cannot be used is
// set aside: it is a help, and its loss must not keep a daemon from starting.
func openKeeper(stateDir string, log *slog.Logger) (*keeper, lastKnown) {
	k := &keeper{path: filepath.Join(stateDir, "last-known-good.json"), log: log, poke: make(chan struct{}, 1)}
	text, err := statedir.Read(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, lastKnown{}
	}
	if err != nil {
		log.Warn("starting without what an earlier daemon knew", "reason", err)
		return k, lastKnown{}
	}
	known, err := decodeLastKnown(text)
	if err != nil {
		line := []any{"file", k.path, "reason", err}
		if aside, failed := statedir.SetAside(k.path); failed == nil {
			line = append(line, "set_aside_as", aside)
		}
		log.Warn("starting without what an earlier daemon knew", line...)
		return k, lastKnown{}
	}
	return k, known
}

// keep says what is known now. Changed tells a new answer from one that only
// confirms the last. It does not wait.
func (k *keeper) keep(known lastKnown, changed bool) {
	k.mu.Lock()
	k.known = known
	k.dirty = k.dirty || changed
	k.aged = true
	k.mu.Unlock()
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// due is when to write; zero is not before there is something to.
func (k *keeper) due() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.dirty && k.trouble != nil:
		return k.wrote.Add(keepRetry)
	case k.dirty:
		return k.wrote.Add(max(keepGap, keepShare*k.took))
	case k.aged:
		return k.wrote.Add(keepAge)
	}
	return time.Time{}
}

// Run writes until the context is over, and then what is left to write.
func (k *keeper) Run(ctx context.Context) error {
	for {
		var due <-chan time.Time
		if at := k.due(); passed(at) {
			k.write()
			continue
		} else if !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
			if !k.due().IsZero() {
				k.write()
			}
			return nil
		case <-k.poke:
		case <-due:
		}
	}
}

// write replaces the file, and says once that it cannot.
func (k *keeper) write() {
	k.mu.Lock()
	known := k.known
	k.dirty, k.aged = false, false
	before := k.trouble
	k.mu.Unlock()

	began := time.Now()
	err := statedir.Write(k.path, known.encode())

	k.mu.Lock()
	defer k.mu.Unlock()
	k.wrote, k.took, k.trouble = time.Now(), time.Since(began), err
	k.writings++
	switch {
	case err != nil:
		k.dirty = true
		if before == nil || before.Error() != err.Error() {
			k.log.Warn("what is known cannot be kept; forwarding goes on, and it is tried again", "reason", err)
		}
	case before != nil:
		k.log.Info("what is known is kept again", "file", k.path)
	}
}

// warning says in a sentence what cannot be kept, or "".
func (k *keeper) warning() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.trouble == nil {
		return ""
	}
	return fmt.Sprintf("what Consul says cannot be kept for a start without it: %v", k.trouble)
}
