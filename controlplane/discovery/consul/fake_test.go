package consul

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

// fake is a Consul in memory that answers as one would, unless it is told what
// to say next. It runs inside a synctest bubble.
type fake struct {
	mu      sync.Mutex
	index   uint64
	entries []*api.ServiceEntry
	change  chan struct{}
	script  []func(ask Ask) (Reply, error) // the next answers, each at once; nil is the ordinary one
	broken  error                          // what every question gets
	dead    bool                           // no question is ever answered
	asks    []asked
}

// asked is a question as it arrived.
type asked struct {
	Ask
	query string
	at    time.Duration // since the bubble's start
	limit time.Duration // until the context's deadline, from then
}

func newFake(names string) *fake {
	return &fake{index: 50, entries: entriesOf(names), change: make(chan struct{})}
}

func entriesOf(names string) []*api.ServiceEntry {
	var out []*api.ServiceEntry
	for _, r := range names {
		out = append(out, entry(func(e *api.ServiceEntry) { e.Service.ID = string(r) }))
	}
	return out
}

var bubble = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (f *fake) Read(ctx context.Context, q Query, ask Ask) (Reply, error) {
	f.mu.Lock()
	limit, _ := ctx.Deadline()
	f.asks = append(f.asks, asked{Ask: ask, query: q.String(), at: time.Since(bubble), limit: time.Until(limit)})
	if f.dead {
		f.mu.Unlock()
		<-ctx.Done()
		return Reply{}, ctx.Err()
	}
	if f.broken != nil {
		defer f.mu.Unlock()
		return Reply{}, f.broken
	}
	if len(f.script) > 0 {
		next := f.script[0]
		f.script = f.script[1:]
		if next != nil {
			f.mu.Unlock()
			return next(ask)
		}
	}
	deadline := time.NewTimer(ask.Wait)
	defer deadline.Stop()
	for ask.Index != 0 && ask.Index >= f.index {
		change := f.change
		f.mu.Unlock()
		select {
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		case <-deadline.C:
			return Reply{Index: ask.Index}, nil
		case <-change:
		}
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	return Reply{Entries: f.entries, Index: f.index}, nil
}

// set changes the catalog, at a newer index.
func (f *fake) set(names string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index++
	f.entries = entriesOf(names)
	close(f.change)
	f.change = make(chan struct{})
}

// say queues answers; the watch sees the first of them at its next question.
func (f *fake) say(answers ...func(Ask) (Reply, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = append(f.script, answers...)
}

func (f *fake) breaks(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = err
}

func (f *fake) die() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

func (f *fake) questions() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]asked(nil), f.asks...)
}

// story is a Source on a fake Consul, inside a bubble.
type story struct {
	*testing.T
	consul *fake
	source *Source
	dns    func(host string) ([]netip.Addr, error)

	mu    sync.Mutex
	views []View
}

// tell runs a story in virtual time: a Source that runs, and watches nothing yet.
func tell(t *testing.T, names string, play func(s *story)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &story{T: t, consul: newFake(names)}
		s.source = NewSource(s.consul, func(v View) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.views = append(s.views, v)
		})
		s.source.lookup = func(_ context.Context, host string) ([]netip.Addr, error) { return s.dns(host) }
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.source.Run(ctx) }()
		defer func() { stop(); <-ended }()
		play(s)
	})
}

func (s *story) watch() {
	s.source.Set(map[string]Query{"web": {Service: "web"}})
	synctest.Wait()
}

// pass lets virtual time go by.
func (s *story) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// last is the newest view and how many there have been.
func (s *story) last() (View, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.views) == 0 {
		return View{}, 0
	}
	return s.views[len(s.views)-1], len(s.views)
}

func (s *story) expect(when, names string, reason Reason) {
	s.Helper()
	v, _ := s.last()
	if got := letters(v.Instances); got != names || v.Reason != reason {
		s.Fatalf("%s: instances are %q, reason is %q (%v); want %q and %q", when, got, v.Reason, v.Err, names, reason)
	}
	if (v.Err == nil) != (v.Reason == "") {
		s.Fatalf("%s: error %v with reason %q", when, v.Err, v.Reason)
	}
}
