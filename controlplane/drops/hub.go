// Package drops passes on which packets a data plane drops, to whoever listens.
// While nobody does, the data plane is not asked.
package drops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pointsman/pointsman/dataplane"
)

const (
	// renewEvery is how often the data plane is told that somebody listens, which
	// it forgets after some seconds.
	renewEvery = time.Second
	// backlog is how many drops wait for a listener who is slow.
	backlog = 256
)

// Hub has one data plane's drops, and any number of listeners.
type Hub struct {
	source dataplane.Drops
	wake   chan struct{}

	mu        sync.Mutex
	listeners map[*Listener]bool
}

// New returns a hub of the source's drops; Run closes the source.
func New(source dataplane.Drops) *Hub {
	return &Hub{source: source, wake: make(chan struct{}, 1), listeners: map[*Listener]bool{}}
}

// Listener hears of drops. Whoever is slower than they come misses some.
type Listener struct {
	C      <-chan dataplane.Dropped
	in     chan dataplane.Dropped
	wants  func(dataplane.Dropped) bool
	missed atomic.Uint64
	hub    *Hub
}

// Listen begins to listen to the drops that are wanted.
func (h *Hub) Listen(wants func(dataplane.Dropped) bool) *Listener {
	in := make(chan dataplane.Dropped, backlog)
	l := &Listener{C: in, in: in, wants: wants, hub: h}
	h.mu.Lock()
	h.listeners[l] = true
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return l
}

// Close ends listening.
func (l *Listener) Close() {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	delete(l.hub.listeners, l)
}

// Missed is how many drops were not heard of since it was asked last: those that
// the data plane did not tell of, of whatever kind, and those that came too fast.
func (l *Listener) Missed() uint64 { return l.missed.Swap(0) }

// Run passes drops on until the context is over. Then none is watched.
func (h *Hub) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.pass(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		return h.source.Close()
	})
	return group.Wait()
}

func (h *Hub) pass(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.wake:
		}
		if err := h.watch(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watching drops: %w", err)
		}
	}
}

// watch is over when nobody listens any more.
func (h *Hub) watch(ctx context.Context) (err error) {
	untold, err := h.source.Untold()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.source.Watch(false)) }()
	for ctx.Err() == nil && h.listened() {
		if err := h.source.Watch(true); err != nil {
			return err
		}
		if err := h.hear(time.Now().Add(renewEvery)); err != nil {
			return err
		}
		now, err := h.source.Untold()
		if err != nil {
			return err
		}
		h.miss(now - untold)
		untold = now
	}
	return nil
}

// hear passes on what comes until a time.
func (h *Hub) hear(until time.Time) error {
	for time.Now().Before(until) {
		dropped, err := h.source.Read(until)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		h.tell(dropped)
	}
	return nil
}

func (h *Hub) listened() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.listeners) > 0
}

func (h *Hub) tell(dropped dataplane.Dropped) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		if !l.wants(dropped) {
			continue
		}
		select {
		case l.in <- dropped:
		default:
			l.missed.Add(1)
		}
	}
}

func (h *Hub) miss(untold uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		l.missed.Add(untold)
	}
}
