package fake

import (
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Packet is what the choice of a backend depends on.
type Packet struct {
	Client netip.AddrPort
	VIP    dataplane.VIP // an exact one: the packet's destination
	SYN    bool          // of TCP: the first packet of a flow
}

// Balancer chooses backends as the program does, by the same tables, in plain
// Go. It is what the program is held to; it may be slow, not clever.
type Balancer struct {
	tables *dataplane.Tables
	hash   dataplane.Hash
	Events dataplane.FlowCounters
}

// NewBalancer balances by tables, of which it changes the flows and the seconds
// of conditions. There must be room for a power of two of buckets of flows.
func NewBalancer(tables *dataplane.Tables, hash dataplane.Hash) *Balancer {
	return &Balancer{tables: tables, hash: hash}
}

// Send returns the index of the backend that gets a packet at a second of the
// monotonic clock, NoBackend if it is dropped or no VIP's.
func (b *Balancer) Send(p Packet, second uint32) uint32 {
	_, vip, known := b.tables.Find(p.VIP)
	if !known {
		return dataplane.NoBackend
	}
	chosen := b.Choose(p, vip, second)
	if !b.alive(chosen) {
		return dataplane.NoBackend
	}
	return chosen
}

func (b *Balancer) alive(index uint32) bool {
	entry, known := b.tables.Backends[index]
	return known && !entry.Dead
}

// Look is the choice for a packet that is no SYN, without a trace of it.
func (b *Balancer) Look(p Packet, vip dataplane.VIPEntry, second uint32) uint32 {
	p.SYN = false
	slot := b.hash.Slot(p.Client, p.VIP, vip)
	if int(slot) >= len(b.tables.Slots) {
		return b.Choose(p, vip, second) // nobody, which leaves no trace
	}
	bucket, condition, events := b.bucket(p, second), b.tables.Conditions.At(slot, p.VIP.Protocol), b.Events
	flows := slices.Clone(bucket.flows)
	chosen := b.Choose(p, vip, second)
	copy(bucket.flows, flows)
	b.tables.Conditions.Put(slot, p.VIP.Protocol, condition)
	b.Events = events
	return chosen
}

// Choose is the choice for a packet whose VIP leads to vip's slots; the backend
// may be dead. It looks at a slot's condition only where the VIP says to.
func (b *Balancer) Choose(p Packet, vip dataplane.VIPEntry, second uint32) uint32 {
	slot := b.hash.Slot(p.Client, p.VIP, vip)
	if int(slot) >= len(b.tables.Slots) {
		return dataplane.NoBackend // someone else has written the VIP
	}
	owner := b.tables.Slots[slot]
	if !vip.Unsettled && !vip.TrackAlways {
		return owner
	}
	condition := b.tables.Conditions.At(slot, p.VIP.Protocol)
	if condition.Phase == dataplane.Settled && !vip.TrackAlways {
		return owner
	}
	s := seeker{bucket: b.bucket(p, second), Condition: condition, owner: owner, vip: vip}
	var chosen uint32
	if p.SYN {
		chosen = s.placeNewFlow()
	} else {
		chosen = b.placeOldFlow(&s)
	}
	worthNoting := chosen != owner
	if condition.Phase == dataplane.Learning {
		worthNoting = s.unlearned
	}
	if condition.Phase == dataplane.Moving && s.remembered {
		worthNoting = false
	}
	if worthNoting {
		condition.Second = second
		b.tables.Conditions.Put(slot, p.VIP.Protocol, condition)
	}
	return chosen
}

// seeker is a packet in search of its backend.
type seeker struct {
	bucket
	dataplane.Condition
	owner      uint32
	vip        dataplane.VIPEntry
	unlearned  bool // in Learning, the flow could not be remembered
	remembered bool // the flow was, before
}

// synOnlySeconds is how long a flow is remembered of which only the SYN was
// seen; not longer than any silent flow, or it would outlive its slot's phase.
const synOnlySeconds = 8

func (s *seeker) rememberNew() bool {
	return s.remember(s.owner, true, min(synOnlySeconds, s.vip.IdleSeconds))
}

// placeNewFlow obeys the law: a new flow may go to the new owner only if it can
// be remembered; otherwise it goes where a forgotten flow would go.
func (s *seeker) placeNewFlow() uint32 {
	switch {
	case s.owner == dataplane.NoBackend:
		return dataplane.NoBackend
	case s.Phase == dataplane.Moving:
		if s.rememberNew() {
			return s.owner
		}
		return s.Fallback
	case s.vip.TrackAlways:
		s.rememberNew()
	default:
		s.forget()
	}
	return s.owner
}

// placeOldFlow sends a flow to the backend that is remembered, if it lives, or
// else to that of forgotten flows.
func (b *Balancer) placeOldFlow(s *seeker) uint32 {
	if remembered, known := s.recall(s.vip.IdleSeconds); known && b.alive(remembered) {
		s.remembered = true
		return remembered
	}
	otherwise := s.owner
	if s.Phase == dataplane.Moving || s.Phase == dataplane.Learning {
		otherwise = s.Fallback
	}
	if otherwise != dataplane.NoBackend && (s.Phase == dataplane.Learning || s.vip.TrackAlways) {
		s.unlearned = !s.remember(otherwise, false, s.vip.IdleSeconds)
	}
	return otherwise
}
