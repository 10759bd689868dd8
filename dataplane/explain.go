package dataplane

import (
	"net/netip"
	"sync/atomic"
)

// Explanation is which backend a flow's packets go to by the tables as they are,
// and why. Backends are indexes; NoBackend is none that lives.
type Explanation struct {
	VIP       VIP // that packets are for: an exact one, or the wide one that holds their port
	Entry     VIPEntry
	Slot      uint32 // from the service's first on
	Owner     uint32
	Condition Condition // settled where the program does not look
	// Remembered is the flow's entry in the flow table, living and of a living
	// backend; 0 where there is none or the program does not look.
	Remembered Flow
	HasRoom    bool // in the flow table, for this flow
	// NewFlow is where a TCP SYN goes, Later where every other packet and all of
	// UDP go.
	NewFlow, Later Choice
}

// Choice is the backend that a packet goes to, and why that one.
type Choice struct {
	Backend uint32
	Why     Why
}

// Why is the rule of the table of phases by which a backend is chosen.
type Why string

// The rules. ByNewOwner is of flows that begin and can be remembered,
// ByFullTable of those that cannot; ByLearning is of flows that have not been
// seen yet while their backend so far is being remembered.
const (
	ByOwner      Why = "owner"
	ByNewOwner   Why = "new owner"
	ByFullTable  Why = "no room"
	ByRemembered Why = "remembered"
	ByFallback   Why = "fallback"
	ByLearning   Why = "learning"
)

// The rules under nat: a connection stays at its backend, and what belongs to none
// goes nowhere, unless it begins one.
const (
	ByConnection   Why = "connection"
	ByNoConnection Why = "no connection"
)

// Rules are all of them but those of nat.
var Rules = []Why{ByOwner, ByNewOwner, ByFullTable, ByRemembered, ByFallback, ByLearning}

// Explain says where the packets of a client's flow go at a second of the
// program's clock. To is their destination. It changes nothing. Found is false
// where packets are for no VIP. A QUIC connection ID that names a backend comes
// before all of this.
func (t *Tables) Explain(hash *Hash, client netip.AddrPort, to VIP, second uint32) (e Explanation, found bool) {
	if e.VIP, e.Entry, found = t.Find(to); !found {
		return e, false
	}
	slot := hash.Slot(client, to, e.Entry)
	e.Slot, e.Owner = slot-e.Entry.FirstSlot, atomic.LoadUint32(&t.Slots[slot])
	looks := e.Entry.Unsettled || e.Entry.TrackAlways
	if looks {
		e.Condition = t.Conditions.At(slot, to.Protocol)
	}
	if looks && (e.Condition.Phase != Settled || e.Entry.TrackAlways) {
		e.Remembered, e.HasRoom = t.recall(hash.Flow(client, to), second)
	}
	e.NewFlow, e.Later = e.newFlow(), e.later()
	for _, choice := range []*Choice{&e.NewFlow, &e.Later} {
		if !t.isAlive(choice.Backend) {
			choice.Backend = NoBackend
		}
	}
	if to.Protocol == UDP {
		e.NewFlow = e.Later
	}
	return e, true
}

// Connected is the explanation of a nat VIP's packets, whose slot only says where
// connections begin. Connection is that of the flow, nil if there is none.
func (e Explanation) Connected(t *Tables, connection *Connection) Explanation {
	begins := e.NewFlow
	e.Later = Choice{NoBackend, ByNoConnection}
	if connection != nil {
		e.Later = Choice{connection.Index, ByConnection}
		if !t.isAlive(connection.Index) {
			e.Later.Backend = NoBackend
		}
	}
	moves := connection != nil && connection.Closed && begins.Backend != e.Later.Backend
	if e.NewFlow = e.Later; e.Later.Backend == NoBackend || moves {
		e.NewFlow = begins
	}
	if e.VIP.Protocol == UDP {
		e.Later = e.NewFlow // any datagram can begin a connection
	}
	return e
}

func (t *Tables) isAlive(index uint32) bool {
	entry, known := t.Backends[index]
	return known && !entry.Dead
}

// newFlow is the table's column of TCP SYNs: to the new owner only if that can be
// remembered, else where a forgotten flow would go.
func (e *Explanation) newFlow() Choice {
	switch {
	case e.Condition.Phase != Moving || e.Owner == NoBackend:
		return Choice{e.Owner, ByOwner}
	case e.HasRoom:
		return Choice{e.Owner, ByNewOwner}
	}
	return Choice{e.Condition.Fallback, ByFullTable}
}

// later is the table's column of all other packets.
func (e *Explanation) later() Choice {
	switch {
	case e.Remembered != 0:
		return Choice{e.Remembered.Backend(), ByRemembered}
	case e.Condition.Phase == Moving:
		return Choice{e.Condition.Fallback, ByFallback}
	case e.Condition.Phase == Learning:
		return Choice{e.Condition.Fallback, ByLearning}
	}
	return Choice{e.Owner, ByOwner}
}

// recall finds a flow's own entry if its backend lives, and whether the flow has
// an entry or could be given one.
func (t *Tables) recall(hash uint64, second uint32) (own Flow, room bool) {
	buckets := uint64(len(t.Flows) / FlowsPerBucket)
	if buckets == 0 {
		return 0, false
	}
	first := hash % buckets * FlowsPerBucket
	for i := range uint64(FlowsPerBucket) {
		flow := Flow(atomic.LoadUint64(&t.Flows[first+i]))
		switch {
		case flow == 0 || flow.Expired(second):
			room = true
		case flow.Digest() == hash>>(64-digestBits):
			own, room = flow, true
		}
	}
	if !t.isAlive(own.Backend()) {
		own = 0
	}
	return own, room
}
