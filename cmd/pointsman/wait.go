package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

// How often a waiting drain asks, and how often it says how far it is.
const (
	askEvery  = 500 * time.Millisecond
	tellEvery = 2 * time.Second
)

// waiting is a drain that is waited for.
type waiting struct {
	service, address string
	backends         func(ctx context.Context, service string) (api.Backends, error)
	progress         io.Writer

	began time.Time // the daemon has begun to drain it
	left  string    // what is left of its flows
}

// run returns when nothing is left of the backend's flows, with exit code 7
// when the timeout is over before; 0 is none. A daemon that is started anew
// meanwhile is waited for.
func (w *waiting) run(ctx context.Context, timeout time.Duration) error {
	began, told := time.Now(), time.Time{}
	for {
		over, err := w.look(ctx)
		if over || err != nil {
			return err
		}
		waited := time.Since(began)
		if timeout > 0 && waited >= timeout {
			return codedError{exitTimeout, fmt.Errorf("after %s, %s of %s still has %s; the drain goes on", timeout, w.address, w.service, w.left)}
		}
		if time.Since(told) >= tellEvery {
			told = time.Now()
			fmt.Fprintf(w.progress, "%s of %s has %s, %s waited\n", w.address, w.service, w.left, age(waited))
		}
		pause := askEvery
		if timeout > 0 {
			pause = min(pause, timeout-waited)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// look tells whether the drain is over, and otherwise notes what is left.
func (w *waiting) look(ctx context.Context) (over bool, err error) {
	list, err := w.backends(ctx, w.service)
	var unreachable *api.UnreachableError
	if errors.As(err, &unreachable) {
		w.left = "flows that nobody counts, since no daemon answers"
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, s := range list.Services {
		for _, b := range s.Backends {
			if b.Address == w.address && b.State != "rejected" {
				return w.judge(b)
			}
		}
	}
	return true, nil // it is a backend no more
}

func (w *waiting) judge(b api.Backend) (over bool, err error) {
	w.left = left(b.Slots, b.FallbackSlots, b.RememberedFlows)
	switch {
	case b.Drain != nil && b.Drain.Empty:
		return true, nil
	case b.Drain != nil:
		w.began = b.Drain.Since
		return false, nil
	case w.began.IsZero():
		return false, nil // the daemon has heard of it, and not yet acted
	}
	return false, fmt.Errorf("the drain of %s of %s was ended, by undrain or its ttl", w.address, w.service)
}

// left says what a draining backend still has.
func left(slots, fallback uint32, flows int) string {
	return fmt.Sprintf("%d slots and %d remembered flows", slots+fallback, flows)
}
