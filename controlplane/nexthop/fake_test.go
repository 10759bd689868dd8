package nexthop

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel is a host whose network does what the test says.
type fakeKernel struct {
	mu         sync.Mutex
	links      map[int]Link
	neighbours map[hop]Neighbour
	routes     map[netip.Addr]Route
	events     chan []event // nil before the first subscription
	lose       context.CancelFunc
	manages    bool // as Linux 5.16 does
	deaf       bool // Route and List fail
	start      time.Time
	asked      map[hop][]time.Duration // since start
	released   []hop
	routed     int // calls of Route
	listed     int
}

func (k *fakeKernel) Subscribe(ctx context.Context) (<-chan []event, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	inner, out := make(chan []event), make(chan []event)
	ctx, lose := context.WithCancel(ctx)
	k.events, k.lose = inner, lose
	go func() {
		defer close(out)
		for {
			select {
			case <-ctx.Done():
				return
			case batch := <-inner:
				select {
				case <-ctx.Done():
					return
				case out <- batch:
				}
			}
		}
	}()
	return out, nil
}

func (k *fakeKernel) List() ([]Link, []Neighbour, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.listed++
	if k.deaf {
		return nil, nil, errors.New("interrupted system call")
	}
	var links []Link
	for _, l := range k.links {
		links = append(links, l)
	}
	var neighbours []Neighbour
	for _, n := range k.neighbours {
		neighbours = append(neighbours, n)
	}
	return links, neighbours, nil
}

func (k *fakeKernel) Route(addr netip.Addr) (Route, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routed++
	if k.deaf {
		return Route{}, errors.New("interrupted system call")
	}
	return k.routes[addr], nil
}

func (k *fakeKernel) Ask(h hop) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[h] = append(k.asked[h], time.Since(k.start))
	return nil
}

func (k *fakeKernel) Release(h hop) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.released = append(k.released, h)
	return nil
}

func (k *fakeKernel) Close() {}

// news is one call of Options.Changed.
type news struct {
	at   time.Duration
	addr netip.Addr
	Resolution
}

// rig is a Watcher on a fake kernel inside a synctest bubble.
type rig struct {
	*fakeKernel
	*Watcher
	log []news
}

// inBubble runs body with a watcher of web4 on eth0's segment, ends it and waits.
func inBubble(t *testing.T, body func(*rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{fakeKernel: &fakeKernel{
			links:      map[int]Link{2: eth0},
			neighbours: map[hop]Neighbour{},
			routes:     map[netip.Addr]Route{web4: {Kind: Unicast, Interface: 2, Source: own4}},
			asked:      map[hop][]time.Duration{},
			manages:    true,
			start:      time.Now(),
		}}
		r.Watcher = New(Options{Changed: func(addr netip.Addr, found Resolution) {
			r.host().Lock()
			defer r.host().Unlock()
			r.log = append(r.log, news{time.Since(r.start), addr, found})
		}})
		r.open = func() (kernel, error) { return r.fakeKernel, nil }
		r.Set([]netip.Addr{web4}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		body(r)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// host is the lock of everything that the test and the watcher both touch.
func (r *rig) host() *sync.Mutex { return &r.fakeKernel.mu }

// pass lets time go by until everything has come to rest.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d) // the bubble's clock, which costs nothing
	synctest.Wait()
}

// happen changes the host and tells the watcher, as the kernel would.
func (r *rig) happen(events ...event) {
	r.host().Lock()
	for _, e := range events {
		switch e := e.(type) {
		case linkEvent:
			r.links[e.Index] = e.Link
		case neighbourEvent:
			e.Managed = r.manages
			r.neighbours[e.hop] = e.Neighbour
			if e.gone {
				delete(r.neighbours, e.hop)
			}
		}
	}
	r.host().Unlock()
	for i, e := range events {
		if n, ok := e.(neighbourEvent); ok {
			n.Managed = r.manages
			events[i] = n
		}
	}
	r.fakeKernel.events <- events
	synctest.Wait()
}

// becomes is the event of a neighbour's new state.
func becomes(addr netip.Addr, state NeighbourState) neighbourEvent {
	return neighbourEvent{Neighbour: neighbour(addr, state)}
}

// heard returns what was told since the last call.
func (r *rig) heard() []news {
	r.host().Lock()
	defer r.host().Unlock()
	out := r.log
	r.log = nil
	return out
}
