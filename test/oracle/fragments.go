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

// whereFirstWent is the way of a packet's first fragment, for as long as it counts.
func (b *Balancer) whereFirstWent(p *packet) (FragmentWay, bool) {
	first, known := b.Fragments[p.fragmentKey()]
	return first, known && p.arrival.Second-first.Second <= fragmentSeconds
}

// laterFragment goes where its first went: it has no ports. What is the host's own
// stays so whatever its length says; the rest is judged.
func (b *Balancer) laterFragment(p *packet) Fate {
	if !b.isVIPAddress(p.destination) {
		return p.rejected(PassNotVIP)
	}
	first, known := b.whereFirstWent(p)
	switch {
	case known && first.Backend == dataplane.NoBackend:
		return p.rejected(PassNotVIP)
	case p.lengthLies(0):
		return p.rejected(DropBadLength)
	case known && b.alive(first.Backend):
		return b.send(p, first.Backend, first.Entropy)
	}
	return b.hold(p)
}

// hold hands a fragment to whoever holds those that come before their first, once.
// It is never sent by a guess, since a fragment of TCP at the wrong backend would
// reset a connection.
func (b *Balancer) hold(p *packet) Fate {
	if !b.Holds || p.arrival.WasHeld {
		return p.rejected(DropFragment)
	}
	fate := p.rejected(HoldFragment)
	fate.Held = p.fragmentKey()
	return fate
}
