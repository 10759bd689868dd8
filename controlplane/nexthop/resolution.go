// Package nexthop knows the way to each backend: the egress interface, both
// MACs of the frame, the source address and the MTU, as this host's own routes,
// neighbours and links have it. It watches the kernel and tells when a way
// changes, so that the data plane needs no lookup of its own.
package nexthop

import (
	"fmt"
	"net/netip"
)

// Resolution is the way to one address, or why there is none; with a Problem
// the other fields hold what is known nevertheless. It can be compared with ==.
type Resolution struct {
	Interface  string // that the route leads to
	Index      uint32 // the ifindex of the device that sends: where Interface is a VLAN, the one below it
	EgressMAC  [6]byte
	NextHopMAC [6]byte
	VLAN       [mostTags]Tag // the outer or only one, and the inner
	Source     netip.Addr    // of the address's family; what the host itself would send from
	MTU        int           // of the route where it has one, else what the interfaces take; bytes of IP
	Gateway    netip.Addr    // invalid where the address is on the segment itself
	Problem    string        // "" where the way can be used; else a sentence that says what to do
}

// Link is a network interface.
type Link struct {
	Index   int
	Name    string
	MAC     []byte // six bytes on Ethernet
	MTU     int
	Up      bool // an administrator wants it up
	Carrier bool // and it is able to send
	Native  bool // an XDP program runs in its driver

	Kind     string // as ip link calls it: "vlan", "bond"; "" where it is a network card's
	Parent   int    // the ifindex of the one below, which may be itself; 0 where there is none
	Abroad   bool   // the one below is in another network namespace
	Tag      Tag    // of a VLAN
	BondMode string // of a bond
}

// Neighbour is an entry of the kernel's ARP or ND table.
type Neighbour struct {
	hop
	MAC   []byte
	State NeighbourState
	// Managed entries are kept resolved by the kernel (NTF_EXT_MANAGED, Linux 5.16).
	Managed bool
}

// hop is an address on a segment: whom to ask for a MAC, and where.
type hop struct {
	Interface int // ifindex
	Addr      netip.Addr
}

// NeighbourState is the kernel's NUD state, as far as it matters here.
type NeighbourState uint8

const (
	// Unasked is the state of an entry that does not exist or has no answer yet:
	// NONE and INCOMPLETE.
	Unasked NeighbourState = iota
	// Failed is that of a neighbour that was asked several times in vain.
	Failed
	// Answered is REACHABLE, STALE, DELAY and PROBE: in all of them the kernel
	// itself sends to the MAC.
	Answered
	// Fixed is PERMANENT and NOARP: nobody is asked.
	Fixed
)

func (n Neighbour) usable() bool {
	return (n.State == Answered || n.State == Fixed) && len(n.MAC) == 6
}

// RouteKind is what the kernel does with packets for an address.
type RouteKind uint8

// The kinds of route. Refused is blackhole, unreachable and prohibit; Special
// is multicast, broadcast and anycast.
const (
	NoRoute RouteKind = iota
	Unicast
	Local
	Refused
	Special
)

// Route is the kernel's answer for one address.
type Route struct {
	Kind      RouteKind
	Interface int
	Gateway   netip.Addr
	Source    netip.Addr
	MTU       int // 0 where the route has none
}

// answer is what resolve has found: a resolution, and the neighbour that it
// stands on. Where that neighbour has no MAC the resolution has a Problem, and
// silent says so; failed tells that the kernel has given up on it. Where the
// Problem is an interface without a carrier, dark says so.
type answer struct {
	Resolution
	hop
	silent, failed, dark bool
}

// world is what the kernel has told, as plain values.
type world struct {
	links      map[int]Link
	neighbours map[hop]Neighbour
	ingress    []Ingress
}

// resolve finds the way to addr along a route. before is the last known
// resolution, which helps to say why a route has gone.
func (w world) resolve(addr netip.Addr, route Route, before Resolution) answer {
	switch route.Kind {
	case NoRoute:
		return w.noRoute(addr, before)
	case Local:
		return problem("the route to %s goes via lo: the address is this host's own", addr)
	case Refused:
		return problem("the route to %s is a blackhole, unreachable or prohibit route: see ip route get %s", addr, addr)
	case Special:
		return problem("%s is a multicast, broadcast or anycast address, not a backend's", addr)
	}
	link, known := w.links[route.Interface]
	if !known {
		return problem("the route leads to interface number %d, which is gone", route.Interface)
	}
	frame, trouble := w.below(link)
	if trouble != "" {
		found := problem("%s", trouble).on(link.Name, uint32(frame.from.Index))
		found.dark = frame.from.Up && !frame.from.Carrier
		return found
	}
	if trouble := objectionToSource(addr, route, link); trouble != "" {
		return problem("%s", trouble).on(link.Name, uint32(frame.from.Index))
	}
	next, role := addr, "neighbour"
	if route.Gateway.IsValid() {
		next, role = route.Gateway, "gateway"
	}
	way := Resolution{
		Interface: link.Name, Index: uint32(frame.from.Index), EgressMAC: [6]byte(link.MAC), VLAN: frame.vlan,
		Source: route.Source, MTU: frame.mtu, Gateway: route.Gateway,
	}
	if 0 < route.MTU && route.MTU < frame.mtu {
		way.MTU = route.MTU
	}
	asked := hop{link.Index, next}
	neighbour := w.neighbours[asked]
	if !neighbour.usable() {
		way.Problem = fmt.Sprintf("%s %s on %s does not answer %s: is it up, and on this segment?", role, next, link.Name, protocol(next))
		return answer{Resolution: way, hop: asked, silent: true, failed: neighbour.State == Failed}
	}
	way.NextHopMAC = [6]byte(neighbour.MAC)
	return answer{Resolution: way, hop: asked}
}

// noRoute says whether the route has gone with an interface: with the device
// that sends, whose VLANs go down and come up with it, or with a VLAN alone.
func (w world) noRoute(addr netip.Addr, before Resolution) answer {
	down := w.links[int(before.Index)]
	if down.Up || down.Index == 0 {
		down = w.named(before.Interface)
	}
	if down.Up || down.Index == 0 {
		return problem("no route to %s: add one, or a default route", addr)
	}
	return problem("interface %s is down, and the route to %s with it: ip link set %s up", down.Name, addr, down.Name).
		on(before.Interface, before.Index)
}

func (w world) named(name string) Link {
	for _, link := range w.links {
		if link.Name == name {
			return link
		}
	}
	return Link{}
}

// objectionToSource says what is wrong with the address that packets for addr
// would be sent from, or "".
func objectionToSource(addr netip.Addr, route Route, link Link) string {
	family := "IPv4"
	if addr.Is6() {
		family = "IPv6"
	}
	switch {
	case !route.Source.IsValid() || route.Source.IsUnspecified() || route.Source.Is4() != addr.Is4():
		return fmt.Sprintf("this host has no %s address to reach %s from: give %s one", family, addr, link.Name)
	case route.Source.IsLinkLocalUnicast() && !addr.IsLinkLocalUnicast() && route.Gateway.IsValid():
		// Routers drop packets from link-local sources (RFC 4291, 2.5.6; RFC 3927, 7).
		return fmt.Sprintf("this host would reach %s from the link-local address %s, which %s does not forward: give %s a global one",
			addr, route.Source, route.Gateway, link.Name)
	}
	return ""
}

func problem(format string, args ...any) answer {
	return answer{Resolution: Resolution{Problem: fmt.Sprintf(format, args...)}}
}

// on says which interface a problem is about, and which device sends for it.
func (a answer) on(name string, from uint32) answer {
	a.Resolution.Interface, a.Index = name, from
	return a
}

func protocol(neighbour netip.Addr) string {
	if neighbour.Is4() {
		return "ARP"
	}
	return "neighbour discovery"
}
