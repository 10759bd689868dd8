package nexthop

import (
	"net/netip"
	"strings"
	"testing"
)

var (
	web4    = netip.MustParseAddr("10.20.0.11")
	web6    = netip.MustParseAddr("2001:db8::11")
	gw4     = netip.MustParseAddr("10.1.0.1")
	gw6     = netip.MustParseAddr("fe80::1")
	own4    = netip.MustParseAddr("10.1.0.2")
	own6    = netip.MustParseAddr("2001:db8::2")
	eth0MAC = []byte{2, 0, 0, 0, 0, 1}
	peerMAC = []byte{2, 0, 0, 0, 0, 9}
	eth0    = Link{Index: 2, Name: "eth0", MAC: eth0MAC, MTU: 1500, Up: true, Carrier: true}
)

// theWorld has eth0 and whoever is given behind it.
func theWorld(link Link, neighbours ...Neighbour) world {
	w := world{links: map[int]Link{link.Index: link}, neighbours: map[hop]Neighbour{}}
	for _, n := range neighbours {
		w.neighbours[n.hop] = n
	}
	return w
}

func neighbour(addr netip.Addr, state NeighbourState) Neighbour {
	n := Neighbour{hop: hop{2, addr}, State: state}
	if state == Answered || state == Fixed {
		n.MAC = peerMAC
	}
	return n
}

func TestResolveFindsTheWay(t *testing.T) {
	onSegment := Route{Kind: Unicast, Interface: 2, Source: own4}
	behind := Route{Kind: Unicast, Interface: 2, Source: own4, Gateway: gw4}
	way := Resolution{
		Interface: "eth0", Index: 2, EgressMAC: [6]byte(eth0MAC), NextHopMAC: [6]byte(peerMAC), Source: own4, MTU: 1500,
	}
	with := func(change func(*Resolution)) Resolution { r := way; change(&r); return r }

	for _, row := range []struct {
		promise string
		addr    netip.Addr
		route   Route
		world   world
		want    Resolution
	}{
		{"a backend on the same segment is its own next hop",
			web4, onSegment, theWorld(eth0, neighbour(web4, Answered)), way},
		{"a backend behind a gateway has the gateway's MAC",
			web4, behind, theWorld(eth0, neighbour(gw4, Answered)), with(func(r *Resolution) { r.Gateway = gw4 })},
		{"an IPv6 backend has an IPv6 source",
			web6, Route{Kind: Unicast, Interface: 2, Source: own6}, theWorld(eth0, neighbour(web6, Answered)),
			with(func(r *Resolution) { r.Source = own6 })},
		{"an IPv6 gateway is known by its link-local address",
			web6, Route{Kind: Unicast, Interface: 2, Source: own6, Gateway: gw6}, theWorld(eth0, neighbour(gw6, Answered)),
			with(func(r *Resolution) { r.Source, r.Gateway = own6, gw6 })},
		{"an IPv4 backend may be behind an IPv6 gateway (RFC 5549)",
			web4, Route{Kind: Unicast, Interface: 2, Source: own4, Gateway: gw6}, theWorld(eth0, neighbour(gw6, Answered)),
			with(func(r *Resolution) { r.Gateway = gw6 })},
		{"a permanent neighbour needs no answer",
			web4, onSegment, theWorld(eth0, neighbour(web4, Fixed)), way},
		{"the route's MTU goes before the interface's",
			web4, Route{Kind: Unicast, Interface: 2, Source: own4, MTU: 1400}, theWorld(eth0, neighbour(web4, Answered)),
			with(func(r *Resolution) { r.MTU = 1400 })},
		{"a route's MTU beyond the interface's does not count",
			web4, Route{Kind: Unicast, Interface: 2, Source: own4, MTU: 9000}, theWorld(eth0, neighbour(web4, Answered)), way},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got := row.world.resolve(row.addr, row.route, Resolution{})
			if got.Resolution != row.want || got.silent {
				t.Errorf("got  %+v\nwant %+v", got.Resolution, row.want)
			}
		})
	}
}

func TestResolveSaysWhyThereIsNoWay(t *testing.T) {
	onSegment := Route{Kind: Unicast, Interface: 2, Source: own4}
	behind := Route{Kind: Unicast, Interface: 2, Source: own4, Gateway: gw4}
	link := func(change func(*Link)) world { l := eth0; change(&l); return theWorld(l, neighbour(web4, Answered)) }
	down := link(func(l *Link) { l.Up = false })

	for _, row := range []struct {
		promise string
		addr    netip.Addr
		route   Route
		world   world
		before  Resolution
		problem string
		asks    netip.Addr
	}{
		{"no route", web4, Route{Kind: NoRoute}, theWorld(eth0), Resolution{}, "no route to 10.20.0.11: add one, or a default route", netip.Addr{}},
		{"a route that went with its interface", web4, Route{Kind: NoRoute}, down, Resolution{Index: 2}, "interface eth0 is down, and the route to 10.20.0.11 with it", netip.Addr{}},
		{"the host's own address", web4, Route{Kind: Local, Interface: 1}, theWorld(eth0), Resolution{}, "the route to 10.20.0.11 goes via lo: the address is this host's own", netip.Addr{}},
		{"a blackhole", web4, Route{Kind: Refused}, theWorld(eth0), Resolution{}, "the route to 10.20.0.11 is a blackhole, unreachable or prohibit route", netip.Addr{}},
		{"a broadcast address", web4, Route{Kind: Special, Interface: 2}, theWorld(eth0), Resolution{}, "10.20.0.11 is a multicast, broadcast or anycast address", netip.Addr{}},
		{"an interface that is gone", web4, Route{Kind: Unicast, Interface: 7}, theWorld(eth0), Resolution{}, "the route leads to interface number 7, which is gone", netip.Addr{}},
		{"an interface that is down", web4, onSegment, down, Resolution{}, "interface eth0 is down: ip link set eth0 up", netip.Addr{}},
		{"an interface without a carrier", web4, onSegment, link(func(l *Link) { l.Carrier = false }), Resolution{}, "interface eth0 has no carrier", netip.Addr{}},
		{"an interface without a MAC", web4, onSegment, link(func(l *Link) { l.MAC = nil }), Resolution{}, "interface eth0 has no MAC address", netip.Addr{}},
		{"an interface whose MAC is all zeros, as lo's", web4, onSegment, link(func(l *Link) { l.MAC = make([]byte, 6) }), Resolution{}, "interface eth0 has no MAC address", netip.Addr{}},
		{"no source address", web4, Route{Kind: Unicast, Interface: 2}, theWorld(eth0), Resolution{}, "this host has no IPv4 address to reach 10.20.0.11 from: give eth0 one", netip.Addr{}},
		{"a link-local source and a gateway", web6, Route{Kind: Unicast, Interface: 2, Source: netip.MustParseAddr("fe80::2"), Gateway: gw6}, theWorld(eth0), Resolution{}, "this host would reach 2001:db8::11 from the link-local address fe80::2", netip.Addr{}},
		{"a neighbour that nobody has asked yet", web4, onSegment, theWorld(eth0), Resolution{}, "neighbour 10.20.0.11 on eth0 does not answer ARP", web4},
		{"a neighbour that is being asked", web4, onSegment, theWorld(eth0, neighbour(web4, Unasked)), Resolution{}, "neighbour 10.20.0.11 on eth0 does not answer ARP", web4},
		{"a gateway that was asked in vain", web4, behind, theWorld(eth0, neighbour(gw4, Failed)), Resolution{}, "gateway 10.1.0.1 on eth0 does not answer ARP", gw4},
		{"an IPv6 neighbour that was asked in vain", web6, Route{Kind: Unicast, Interface: 2, Source: own6}, theWorld(eth0, neighbour(web6, Failed)), Resolution{}, "neighbour 2001:db8::11 on eth0 does not answer neighbour discovery", web6},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got := row.world.resolve(row.addr, row.route, row.before)
			if !strings.HasPrefix(got.Problem, row.problem) {
				t.Errorf("said %q, want %q …", got.Problem, row.problem)
			}
			if got.hop.Addr != row.asks || got.silent != row.asks.IsValid() {
				t.Errorf("asks %q (silent=%v), want %q", got.hop.Addr, got.silent, row.asks)
			}
		})
	}
}
