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
	Interface  string // the egress interface
	Index      uint32 // its ifindex
	EgressMAC  [6]byte
	NextHopMAC [6]byte
	Source     netip.Addr // of the address's family; what the host itself would send from
	MTU        int        // of the route where it has one, else of the interface; bytes of IP
	Gateway    netip.Addr // invalid where the address is on the segment itself
	Problem    string     // "" where the way can be used; else a sentence that says what to do
}

// Link is a network interface.
type Link struct {
	Index   int
	Name    string
	MAC     []byte // six bytes on Ethernet
	MTU     int
	Up      bool // an administrator wants it up
	Carrier bool // and it is able to send
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
// silent says so; failed tells that the kernel has given up on it.
type answer struct {
	Resolution
	hop
	silent, failed bool
}

// world is what the kernel has told, as plain values.
type world struct {
	links      map[int]Link
	neighbours map[hop]Neighbour
}

// resolve finds the way to addr along a route. before is the last known
// resolution, which helps to say why a route has gone.
func (w world) resolve(addr netip.Addr, route Route, before Resolution) answer {
	switch route.Kind {
	case NoRoute:
		if link, known := w.links[int(before.Index)]; known && !link.Up {
			return problem("interface %s is down, and the route to %s with it: ip link set %s up", link.Name, addr, link.Name).on(link)
		}
		return problem("no route to %s: add one, or a default route", addr)
	case Local:
		return problem("the route to %s goes via lo: the address is this host's own", addr)
	case Refused:
		return problem("the route to %s is a blackhole, unreachable or prohibit route: see ip route get %s", addr, addr)
	case Special:
		return problem("%s is a multicast, broadcast or anycast address, not a backend's", addr)
	}
	link, known := w.links[route.Interface]
	if trouble := objection(link, known, route.Interface); trouble != "" {
		return problem("%s", trouble).on(link)
	}
	if trouble := objectionToSource(addr, route, link); trouble != "" {
		return problem("%s", trouble).on(link)
	}
	next, role := addr, "neighbour"
	if route.Gateway.IsValid() {
		next, role = route.Gateway, "gateway"
	}
	way := Resolution{
		Interface: link.Name, Index: uint32(link.Index), EgressMAC: [6]byte(link.MAC),
		Source: route.Source, MTU: link.MTU, Gateway: route.Gateway,
	}
	if 0 < route.MTU && route.MTU < link.MTU {
		way.MTU = route.MTU
	}
	asked := hop{link.Index, next}
	neighbour := w.neighbours[asked]
	if !neighbour.usable() {
		way.Problem = fmt.Sprintf("%s %s on %s does not answer %s: is it up, and on this segment?", role, next, link.Name, protocol(next))
		return answer{way, asked, true, neighbour.State == Failed}
	}
	way.NextHopMAC = [6]byte(neighbour.MAC)
	return answer{Resolution: way, hop: asked}
}

func objection(link Link, known bool, index int) string {
	switch {
	case !known:
		return fmt.Sprintf("the route leads to interface number %d, which is gone", index)
	case !link.Up:
		return fmt.Sprintf("interface %s is down: ip link set %s up", link.Name, link.Name)
	case !link.Carrier:
		return fmt.Sprintf("interface %s has no carrier: check its cable and the other end", link.Name)
	case len(link.MAC) != 6 || [6]byte(link.MAC) == [6]byte{}:
		return fmt.Sprintf("interface %s has no MAC address: backends are reached over Ethernet only", link.Name)
	}
	return ""
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

// on says which interface a problem is about.
func (a answer) on(link Link) answer {
	a.Resolution.Interface, a.Index = link.Name, uint32(link.Index)
	return a
}

func protocol(neighbour netip.Addr) string {
	if neighbour.Is4() {
		return "ARP"
	}
	return "neighbour discovery"
}
