package oracle

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// fragment is what a header says of a packet that is part of another.
type fragment struct {
	id     uint32
	offset int
	more   bool
}

func (p *packet) isFirstFragment() bool { return p.fragment != nil && p.fragment.offset == 0 }
func (p *packet) isLaterFragment() bool { return p.fragment != nil && p.fragment.offset != 0 }

// FragmentKey is what all fragments of a packet have in common: RFC 791,
// section 3.2, with the protocol, and RFC 8200, section 4.5, without.
type FragmentKey struct {
	Source, Destination netip.Addr
	Protocol            uint8
	ID                  uint32
}

// FragmentWay is where a packet's fragments go.
type FragmentWay struct {
	Backend uint32 // NoBackend if they are the host's own
	Second  uint32 // when the first one was seen
	Entropy uint32 // of the flow, so that they leave in its order
}

// fragmentSeconds is how long a first fragment is remembered.
const fragmentSeconds = 10

func (p *packet) fragmentKey() FragmentKey {
	key := FragmentKey{p.source, p.destination, p.protocol, p.fragment.id}
	if p.v6 {
		key.Protocol = 0
	}
	return key
}

func (b *Balancer) rememberFragment(p *packet, backend, entropy uint32) {
	b.Fragments[p.fragmentKey()] = FragmentWay{Backend: backend, Second: p.arrival.Second, Entropy: entropy}
}

// hasPorts tells whether a later fragment is of a packet with ports. The rest of
// a chain of extension headers is in the first fragment.
func (p *packet) hasPorts() bool {
	return p.protocol == protocolTCP || p.protocol == protocolUDP || p.v6 && p.isLaterFragment() && isExtension(p.protocol)
}

// laterFragment goes where its first went. It has no ports; where nobody knows
// where the first went it is never sent by a guess, since a fragment of TCP at
// the wrong backend would reset a connection.
func (b *Balancer) laterFragment(p *packet) Fate {
	if !b.isVIPAddress(p.destination) {
		return p.rejected(PassNotVIP)
	}
	if p.lengthLies(0) {
		return p.rejected(DropBadLength)
	}
	first, known := b.Fragments[p.fragmentKey()]
	switch {
	case !known || p.arrival.Second-first.Second > fragmentSeconds:
		return p.rejected(DropFragment)
	case first.Backend == dataplane.NoBackend:
		return p.rejected(PassNotVIP)
	case !b.alive(first.Backend):
		return p.rejected(DropFragment)
	}
	return b.send(p, first.Backend, first.Entropy)
}
