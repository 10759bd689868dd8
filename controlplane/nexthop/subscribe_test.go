package nexthop

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// closes tells whether a subscription ends, whatever it says before.
func closes(events <-chan []event) bool {
	deadline := time.After(10 * time.Second)
	for {
		select {
		case _, more := <-events:
			if !more {
				return true
			}
		case <-deadline:
			return false
		}
	}
}

func TestPrivilegedSubscriptionEndsWhenEventsAreLost(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	k, err := openNetlink(&balancer.ns)
	balancer.must(err)
	defer k.Close()
	k.(*netlinkKernel).buffer = 4096
	events, err := k.Subscribe(t.Context())
	balancer.must(err)
	for n := range 1000 { // and nobody reads
		balancer.route(fmt.Sprintf("10.40.%d.%d/32", n/250, n%250), "10.1.0.1", 0)
	}
	if !closes(events) {
		t.Error("a subscription that lost events goes on as if nothing had happened")
	}
}

func TestPrivilegedSubscriptionEndsWithItsContext(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	k, err := openNetlink(&balancer.ns)
	balancer.must(err)
	defer k.Close()
	ctx, cancel := context.WithCancel(t.Context())
	events, err := k.Subscribe(ctx)
	balancer.must(err)
	cancel()
	if !closes(events) {
		t.Error("the subscription outlives its context")
	}
}

func BenchmarkOrdinaryEvents(b *testing.B) {
	k := &fakeKernel{routes: map[netip.Addr]Route{}, asked: map[hop][]time.Duration{}}
	w := newWays(k)
	w.links, w.neighbours = map[int]Link{2: eth0}, map[hop]Neighbour{}
	addrs := map[netip.Addr]bool{}
	for n := range 10_000 {
		addr := netip.AddrFrom4([4]byte{10, 20, byte(n >> 8), byte(n)})
		addrs[addr] = true
		k.routes[addr] = Route{Kind: Unicast, Interface: 2, Source: own4}
		known := neighbour(addr, Answered)
		known.Managed = true
		w.neighbours[known.hop] = known
	}
	w.want(addrs, nil, nil)
	w.settle(time.Now())
	ordinary := []event{
		neighbourEvent{Neighbour: w.neighbours[hop{2, netip.MustParseAddr("10.20.0.1")}]}, // a backend's MAC is confirmed
		becomes(netip.MustParseAddr("10.99.0.1"), Failed),                                 // a stranger's is not
	}
	for b.Loop() { // what comes all day and changes nothing, with 10,000 backends
		w.take(ordinary, time.Now())
		if news, _ := w.settle(time.Now()); len(news) != 0 {
			b.Fatal("told", news)
		}
	}
}
