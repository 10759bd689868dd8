package oracle

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// fragment is what a header says of a packet that is part of another.
type fragment struct {
	id     uint32
	offset int // in units of eight bytes
	more   bool
	at     int // where IPv6's header of it is
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
	// Connection is that of nat, and Passage which way along it they go.
	Connection *Connection
	Passage    Passage
}

// Passage is by which way of nat fragments go.
type Passage int

// The ways, as enum nat has them.
const (
	NoPassage Passage = iota
	ByRequest
	ByReply
	Untranslatable // the first has no counterpart in the other family
)

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

// rememberTranslated remembers a first fragment of a connection, whatever became of
// it on its way.
func (b *Balancer) rememberTranslated(p *packet, c *Connection, passage Passage, outcome Outcome) {
	if !p.isFirstFragment() || p.isICMP() {
		return
	}
	if outcome == DropBadChecksum { // its identification, for one
		return
	}
	if outcome == DropNATFamily || outcome == ReplySourceRoute {
		passage = Untranslatable
	}
	b.Fragments[p.fragmentKey()] = FragmentWay{Backend: c.Index, Second: p.arrival.Second, Connection: c, Passage: passage}
}

// rememberOwn remembers a first fragment of the host's own, where later ones would
// be held else.
func (b *Balancer) rememberOwn(p *packet) {
	if p.isFirstFragment() && (b.isVIPAddress(p.destination) || b.Tables.SeesNAT && b.isNATBackend(p.source)) {
		b.rememberFragment(p, dataplane.NoBackend, 0)
	}
}

func (b *Balancer) isNATBackend(addr netip.Addr) bool {
	for _, backend := range b.Tables.Backends {
		if backend.Forward == dataplane.NAT && backend.Addr == addr {
			return true
		}
	}
	return false
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
	first, known := b.whereFirstWent(p)
	toVIP := b.isVIPAddress(p.destination)
	switch {
	case !toVIP && !b.Tables.SeesNAT, b.isHosts(p, first, known, toVIP):
		return p.rejected(PassNotVIP)
	case p.lengthLies(0):
		return p.rejected(DropBadLength)
	case known && first.Passage == Untranslatable:
		return p.rejected(DropNATFamily)
	case known && first.Passage == ByReply:
		return b.translateAnswer(p, first.Connection)
	case known && b.alive(first.Backend) && first.Passage == NoPassage:
		return b.send(p, first.Backend, first.Entropy)
	case known && b.alive(first.Backend) && b.goesOn(first.Connection, p):
		return b.translateRequest(p, first.Connection)
	}
	fate := b.hold(p)
	if fate.Outcome == DropFragment && !toVIP { // it may be the host's
		return p.rejected(PassNotVIP)
	}
	return fate
}

// isHosts tells whether a later fragment is not for a VIP, nor of an answer, as far
// as is known: what comes from a nat backend's address before its first may be one.
func (b *Balancer) isHosts(p *packet, first FragmentWay, known, toVIP bool) bool {
	switch {
	case !known:
		return !toVIP && (p.lengthLies(0) || !b.isNATBackend(p.source))
	case first.Backend == dataplane.NoBackend:
		return true
	case first.Passage == ByReply:
		return !b.goesOn(first.Connection, p)
	}
	return !toVIP && first.Passage != Untranslatable
}

// goesOn tells whether the connection of a first fragment still is.
func (b *Balancer) goesOn(c *Connection, p *packet) bool {
	return c.serves(p.arrival.Second) && b.Connections.has(c)
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
