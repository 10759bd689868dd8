package nexthop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// replay takes a real kernel's events one at a time, as Run does, and tells what
// each of them brings about.
type replay struct {
	*testing.T
	*ways
	events  <-chan []event
	waiting []event
	said    map[netip.Addr]Resolution
}

func (s *station) replay(t *testing.T, addrs ...string) *replay {
	t.Helper()
	k, err := openNetlink(&s.ns)
	s.must(err)
	t.Cleanup(k.Close)
	r := &replay{T: t, ways: newWays(k), said: map[netip.Addr]Resolution{}}
	r.events, err = k.Subscribe(t.Context())
	s.must(err)
	s.must(r.list())
	wanted := map[netip.Addr]bool{}
	for _, addr := range addrs {
		wanted[netip.MustParseAddr(addr)] = true
	}
	r.want(wanted, nil, nil)
	r.settled()
	for _, addr := range addrs { // all of them are reached before anything happens
		r.until(addr+" is reached", func(event) bool { return true }, func() bool {
			found, known := r.said[netip.MustParseAddr(addr)]
			return known && found.Problem == ""
		})
	}
	return r
}

// settled settles and notes the news.
func (r *replay) settled() {
	news, _ := r.settle(time.Now())
	for _, n := range news {
		r.said[n.addr] = n.Resolution
	}
}

// until takes one event after the other until the effect is there, and returns how
// many of those that tell of the cause it took.
func (r *replay) until(effect string, tells func(event) bool, there func() bool) (causes int) {
	r.Helper()
	deadline := time.After(10 * time.Second)
	for !there() {
		for len(r.waiting) == 0 {
			select {
			case batch, more := <-r.events:
				if !more {
					r.Fatal("the kernel's events have ended")
				}
				r.waiting = batch
			case <-deadline:
				r.Fatalf("it never came to be that %s: %+v", effect, r.said)
			}
		}
		e := r.waiting[0]
		r.waiting = r.waiting[1:]
		if tells(e) {
			causes++
		}
		r.take([]event{e}, time.Now())
		r.settled()
	}
	return causes
}

func TestPrivilegedAChangeIsFollowedByTheVeryEventThatTellsOfIt(t *testing.T) {
	const addr = "10.1.0.11"
	web, mac := netip.MustParseAddr(addr), [6]byte{2, 0, 0, 0, 0, 0x77}
	tellsOfMAC := func(e event) bool {
		n, is := e.(neighbourEvent)
		return is && n.Addr == web && [6]byte(n.MAC) == mac
	}
	tellsOfRoute := func(e event) bool {
		r, is := e.(routeEvent)
		return is && r.IsValid() && r.Contains(netip.MustParseAddr("10.20.0.11"))
	}
	link := func(matches func(linkEvent) bool) func(event) bool {
		return func(e event) bool {
			l, is := e.(linkEvent)
			return is && matches(l)
		}
	}
	for _, row := range []struct {
		promise string
		watched []string
		change  func(balancer, peer *station)
		tells   func(event) bool // of the change
		effect  func(map[netip.Addr]Resolution) bool
	}{
		{"a backend that has another MAC and says so", []string{addr},
			func(_, peer *station) {
				peer.inside(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/up0/arp_notify", []byte("1"), 0) })
				peer.must(peer.LinkSetHardwareAddr(peer.link("up0"), mac[:]))
			},
			tellsOfMAC, func(said map[netip.Addr]Resolution) bool { return said[web].NextHopMAC == mac }},
		{"a neighbour that the operator writes", []string{addr},
			func(balancer, _ *station) {
				balancer.must(balancer.NeighSet(&netlink.Neigh{LinkIndex: balancer.link("eth0").Attrs().Index, IP: web.AsSlice(), HardwareAddr: mac[:], State: netlink.NUD_PERMANENT}))
			},
			tellsOfMAC, func(said map[netip.Addr]Resolution) bool { return said[web].NextHopMAC == mac }},
		{"a route that goes to another gateway, on another interface", []string{"10.20.0.11", "10.2.0.1"},
			func(balancer, _ *station) { balancer.route("10.20.0.0/24", "10.2.0.1", 0) },
			tellsOfRoute, func(said map[netip.Addr]Resolution) bool {
				found := said[netip.MustParseAddr("10.20.0.11")]
				return found.Interface == "eth1" && found.Problem == ""
			}},
		{"a route that gets another MTU", []string{"10.20.0.11"},
			func(balancer, _ *station) { balancer.route("10.20.0.0/24", "10.1.0.1", 1300) },
			tellsOfRoute, func(said map[netip.Addr]Resolution) bool { return said[netip.MustParseAddr("10.20.0.11")].MTU == 1300 }},
		{"a route that is deleted", []string{"10.20.0.11"},
			func(balancer, _ *station) {
				balancer.must(balancer.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: net.IP{10, 20, 0, 0}, Mask: net.CIDRMask(24, 32)}}))
			},
			tellsOfRoute, func(said map[netip.Addr]Resolution) bool {
				return said[netip.MustParseAddr("10.20.0.11")].Problem != ""
			}},
		{"an interface that goes down", []string{addr},
			func(balancer, _ *station) { balancer.must(balancer.LinkSetDown(balancer.link("eth0"))) },
			link(func(l linkEvent) bool { return l.Name == "eth0" && !l.Up }),
			func(said map[netip.Addr]Resolution) bool { return said[web].Problem != "" }},
		{"a cable that is pulled", []string{addr},
			func(_, peer *station) { peer.must(peer.LinkSetDown(peer.link("up0"))) },
			link(func(l linkEvent) bool { return l.Name == "eth0" && !l.Carrier }),
			func(said map[netip.Addr]Resolution) bool { return said[web].Problem != "" }},
		{"an interface that gets another name", []string{addr},
			func(balancer, _ *station) { balancer.must(balancer.LinkSetName(balancer.link("eth0"), "uplink")) },
			link(func(l linkEvent) bool { return l.Name == "uplink" }),
			func(said map[netip.Addr]Resolution) bool {
				return said[web].Interface == "uplink" && said[web].Problem == ""
			}},
		{"an interface that gets another MAC", []string{addr},
			func(balancer, _ *station) { balancer.must(balancer.LinkSetHardwareAddr(balancer.link("eth0"), mac[:])) },
			link(func(l linkEvent) bool { return l.Name == "eth0" && [6]byte(l.MAC) == mac }),
			func(said map[netip.Addr]Resolution) bool { return said[web].EgressMAC == mac }},
		{"an interface that gets another MTU", []string{addr},
			func(balancer, _ *station) { balancer.must(balancer.LinkSetMTU(balancer.link("eth0"), 1400)) },
			link(func(l linkEvent) bool { return l.Name == "eth0" && l.MTU == 1400 }),
			func(said map[netip.Addr]Resolution) bool { return said[web].MTU == 1400 }},
	} {
		t.Run(row.promise, func(t *testing.T) {
			balancer, peer0, _ := twoSegments(t)
			balancer.route("10.20.0.0/24", "10.1.0.1", 0)
			r := balancer.replay(t, row.watched...)
			row.change(balancer, peer0)
			if n := r.until(row.promise, row.tells, func() bool { return row.effect(r.said) }); n != 1 {
				t.Errorf("it took %d events that tell of it", n)
			}
		})
	}
}

func TestPrivilegedAnInterfaceThatComesBackAsAnotherIsFollowed(t *testing.T) {
	balancer, peer0, _ := twoSegments(t)
	w := balancer.watch(t, "10.1.0.11")
	before := w.awaitWay("10.1.0.11")
	balancer.must(balancer.LinkDel(balancer.link("eth0")))
	w.await("10.1.0.11", "a problem", func(r Resolution) bool { return r.Problem != "" })
	connect(balancer, "eth0", []string{"10.1.0.2/24"}, peer0, "up0", []string{"10.1.0.11/24"})
	after := w.awaitWay("10.1.0.11")
	if after.Index == before.Index || after.Index != uint32(balancer.link("eth0").Attrs().Index) || after.NextHopMAC != peer0.mac("up0") {
		t.Errorf("found %+v, want the new interface, %s", after, fmt.Sprint(balancer.link("eth0").Attrs().Index))
	}
}

func TestPrivilegedAnInterfaceThatGoesDownIsNoProblemWhereThereIsAnotherWay(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	// The same prefix by both interfaces, and the second one's only if the first has gone.
	balancer.route("10.20.0.0/24", "10.1.0.1", 0)
	balancer.must(balancer.RouteAdd(&netlink.Route{
		Dst: &net.IPNet{IP: net.IP{10, 20, 0, 0}, Mask: net.CIDRMask(24, 32)}, Gw: net.IP{10, 2, 0, 1}, Priority: 100,
	}))
	balancer.watch(t, "10.2.0.1").awaitWay("10.2.0.1") // the other gateway is known
	w := balancer.watch(t, "10.20.0.11")
	w.awaitWay("10.20.0.11")
	for range 3 {
		balancer.must(balancer.LinkSetDown(balancer.link("eth0")))
		w.awaitOnly("10.20.0.11", "eth1")
		balancer.must(balancer.LinkSetUp(balancer.link("eth0")))
		balancer.route("10.20.0.0/24", "10.1.0.1", 0)
		w.awaitOnly("10.20.0.11", "eth0") // though it has no carrier for a second
	}
}

// awaitOnly waits until an address is reached by an interface, and fails the test if
// anything is told before that.
func (w *watching) awaitOnly(addr, name string) {
	w.t.Helper()
	next := w.await(addr, "the way by "+name, func(Resolution) bool { return true })
	if next.Problem != "" || next.Interface != name {
		w.t.Fatalf("before the way by %s, what was told is %+v", name, next)
	}
}
