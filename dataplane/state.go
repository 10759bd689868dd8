// Package dataplane says what the kernel should hold, as plain values, and
// holds the pure functions on them: Diff turns what is held and what is wanted
// into steps, Apply carries steps out through a Writer.
package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
)

// Protocol is an IP protocol number that can be balanced.
type Protocol uint8

// The protocols of RFC 9293 and RFC 768.
const (
	TCP Protocol = 6
	UDP Protocol = 17
)

func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return fmt.Sprintf("protocol-%d", uint8(p))
}

// Forward is how packets travel from the balancer to a backend. The values are
// those of enum forward in bpf/types.h; a test in dataplane/kernel holds them equal.
type Forward uint8

// IPIP is RFC 2003, 2473 and 4213 encapsulation in any mix of families; L2
// rewrites the destination MAC only; GUE is encapsulation in UDP, likewise in any
// mix (draft-ietf-intarea-gue-09, variant 0); NAT makes a connection of the
// balancer's own, whose answers come back to it, in any mix.
const (
	IPIP Forward = 1
	L2   Forward = 2
	GUE  Forward = 3
	NAT  Forward = 4
)

// Tunnels tells whether packets get an outer header, and so need a source for it.
func (f Forward) Tunnels() bool { return f == IPIP || f == GUE }

// NeedsSource tells whether packets travel under an address of the balancer's.
func (f Forward) NeedsSource() bool { return f.Tunnels() || f == NAT }

func (f Forward) String() string {
	switch f {
	case IPIP:
		return "ipip"
	case L2:
		return "l2"
	case GUE:
		return "gue"
	case NAT:
		return "nat"
	}
	return fmt.Sprintf("forward-%d", uint8(f))
}

// State is what the control plane wants the kernel to hold.
type State struct {
	Services []Service // sorted by name, names unique
	Second   uint32    // now, of the monotonic clock that the program reads
	// NAT is how connections of nat are made; not read where no service is NAT.
	NAT NATSettings
	// Ingress are the interfaces where clients' packets arrive, by ifindex. Under nat
	// answers leave by them.
	Ingress []uint32
	// Doubted names services whose slots are built anew, whatever their
	// fingerprint says: see Astray.
	Doubted map[string]bool
}

// MaxServiceName is the length in bytes of the longest name of a service.
const MaxServiceName = 63

// MaxWeight is the greatest weight of a backend.
const MaxWeight = 256

// Service is a name, its VIPs and the backends that may get its packets.
type Service struct {
	Name     string // 1 to 63 bytes
	VIPs     []VIP  // a VIP belongs to at most one service
	Slots    uint32 // M, a prime
	Backends []Backend
	Tracking Tracking
	// AffinityClient lets the slot follow from the client's address alone.
	AffinityClient bool
	// QUIC says where in the connection IDs of its UDP flows a backend's QUICID
	// stands; zero is nowhere.
	QUIC QUIC
	// NAT says that all backends are forwarded to by NAT. Tracking is not read then:
	// each connection is remembered by itself, and slots have nothing to digest.
	NAT bool
	// IdleTCP and IdleUDP are the seconds, 1 to MaxIdleSeconds, after which a
	// silent flow is over; 0 means DefaultIdleTCP and DefaultIdleUDP.
	IdleTCP, IdleUDP uint32
	// Keep leaves all of the service as the kernel holds it, because what it
	// should be is not known yet. Its VIPs stay where they lead, even if that is
	// another service; Slots and Backends are not read. A kept service that the
	// kernel does not hold stays out.
	Keep bool
}

// The idle timeouts of services that name none, in seconds.
const (
	DefaultIdleTCP = 15 * 60
	DefaultIdleUDP = 60
)

// tracking is what of the service's flows the program remembers by their slots.
func (s *Service) tracking() Tracking {
	if s.NAT {
		return TrackNever
	}
	return s.Tracking
}

// idleSeconds is the idle timeout of flows of a protocol.
func (s *Service) idleSeconds(protocol Protocol) uint32 {
	if protocol == UDP {
		return cmp.Or(s.IdleUDP, DefaultIdleUDP)
	}
	return cmp.Or(s.IdleTCP, DefaultIdleTCP)
}

// Tracking says which flows of a service are remembered.
type Tracking uint8

// TrackAuto remembers flows that a change would break, TrackAlways every flow,
// TrackNever none: the owner of a slot gets all of its packets at once.
const (
	TrackAuto Tracking = iota
	TrackAlways
	TrackNever
)

func (t Tracking) String() string { return [...]string{"auto", "always", "never"}[t] }

// Backend is a server that answers for a service, with a known next hop. One
// with weight 0 is known to the kernel and owns no slots.
type Backend struct {
	ID
	Weight  uint16 // 0 to 256
	Forward Forward
	Hop     Hop
	// QUICID are the Service.QUIC.Length bytes that the backend puts into
	// connection IDs; "" where it has none. No two of a service have the same.
	QUICID string
}

// ID tells the backends of one service apart. Port 0 means the VIP's port; only
// GUE and nat carry another.
type ID struct {
	Addr netip.Addr
	Port uint16
}

func (id ID) String() string {
	if id.Port == 0 {
		return id.Addr.String()
	}
	return netip.AddrPortFrom(id.Addr, id.Port).String()
}

// Hop is the way to a backend: the egress interface, both MACs of the frame,
// its VLAN tags, the source address for an outer header, and the MTU of the path
// in bytes of IP.
type Hop struct {
	Interface  uint32 // ifindex; of the device below where the route leads to a VLAN
	EgressMAC  [6]byte
	NextHopMAC [6]byte
	// VLAN are the tags that the frame leaves with: the outer or only one, and the
	// inner one; 0 is none. Each is a TCI (IEEE 802.1Q, 9.6) whose bit DEI, which
	// is never sent, is ServiceTag.
	VLAN   [2]uint16
	Source netip.Addr
	MTU    uint16
}

// leastMTU is that of every IPv4 link: RFC 791, section 3.2.
const leastMTU = 68

// overhead is what the outer headers take of the path's MTU.
func overhead(forward Forward, to ID) uint16 {
	var bytes uint16
	if forward.Tunnels() {
		bytes = 40
		if to.Addr.Is4() {
			bytes = 20
		}
	}
	if forward == GUE {
		bytes += 8 + 4 // of UDP and of GUE
	}
	if forward == GUE && to.Port != 0 {
		bytes += 4 // that name the port
	}
	return bytes
}

func (b *Backend) overhead() uint16 { return overhead(b.Forward, b.ID) }

// Overhead is what packets to the backend must be shorter than its path's MTU.
func (e BackendEntry) Overhead() uint16 { return overhead(e.Forward, e.ID) }

// ServiceTag in a tag of Hop.VLAN says that its type is 0x88a8 (802.1ad) and not
// 0x8100 (802.1Q).
const ServiceTag uint16 = 0x1000
