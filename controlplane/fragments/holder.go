// Package fragments holds fragments that came before the first of their packet,
// which alone says where it goes, and lets the program see them again when that
// has come.
package fragments

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pointsman/pointsman/dataplane"
)

const (
	// patience is for how long a fragment waits. Fragments that overtake one
	// another on their way do so by milliseconds; a sender who is told nothing
	// sends again after 200 ms at the earliest (RFC 6298 and Linux's least RTO).
	patience = 200 * time.Millisecond
	// firstLook is when the first is looked for, in a packet that is not in order.
	firstLook = time.Millisecond
	// most is how many fragments are held, of a page each at most. While there
	// are as many, none is read, and so the program drops others by name.
	most = 512
	// complainEvery is how far apart complaints are.
	complainEvery = time.Minute
)

// Holder holds what a data plane hands over.
type Holder struct {
	source     dataplane.Fragments
	log        *slog.Logger
	queue      queue
	complained time.Time
}

// New returns a holder of the source's fragments; Run closes the source.
func New(source dataplane.Fragments, log *slog.Logger) *Holder {
	return &Holder{source: source, log: log, queue: queue{packets: make(map[string]*packet)}}
}

// Run holds fragments until the context is over. Then those that are held leave,
// and others that come before their first are dropped.
func (h *Holder) Run(ctx context.Context) error {
	arrivals := make(chan dataplane.Fragment)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.read(ctx, arrivals) })
	group.Go(func() error { return h.hold(ctx, arrivals) })
	group.Go(func() error {
		<-ctx.Done()
		return h.source.Close()
	})
	return group.Wait()
}

func (h *Holder) read(ctx context.Context, arrivals chan<- dataplane.Fragment) error {
	for {
		fragment, err := h.source.Read()
		if errors.Is(err, dataplane.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case arrivals <- fragment:
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *Holder) hold(ctx context.Context, arrivals <-chan dataplane.Fragment) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		from := arrivals
		if h.queue.count >= most {
			from = nil
		}
		var look <-chan time.Time
		if at := h.queue.next(); !at.IsZero() {
			timer.Reset(time.Until(at))
			look = timer.C
		}
		select {
		case <-ctx.Done():
			for _, p := range h.queue.packets {
				h.release(p)
			}
			return nil
		case fragment := <-from:
			h.queue.add(fragment, time.Now())
		case <-look:
			h.look(time.Now())
		}
	}
}

// look releases packets whose first has come, or will not.
func (h *Holder) look(now time.Time) {
	for _, p := range h.queue.due(now) {
		come, err := h.source.FirstHasCome(p.key)
		if err != nil {
			h.complain(err)
		}
		if come || p.isLate(now) {
			h.release(p)
		} else {
			p.wait(now)
		}
	}
}

func (h *Holder) release(p *packet) {
	h.queue.remove(p)
	for _, fragment := range p.fragments {
		if err := h.source.SendAgain(fragment); err != nil {
			h.complain(err)
		}
	}
}

func (h *Holder) complain(err error) {
	if now := time.Now(); now.Sub(h.complained) >= complainEvery {
		h.complained = now
		h.log.Warn("a fragment that was held is lost", "reason", err)
	}
}
