package fake

import (
	"errors"
	"fmt"

	"github.com/pointsman/pointsman/dataplane"
)

// promises watches a history from outside. It knows which flow went where, and
// of the rules only what they promise.
type promises struct {
	tables *dataplane.Tables
	lookup *Balancer
	flows  map[Packet]sighting
	// unsure is until when the flows of a service may move for another reason
	// than backends: what is remembered of them may be older than they are.
	unsure   map[string]uint32
	wish     map[string]service
	members  map[string]map[dataplane.ID]uint16 // the weights that are wished for
	complete bool                               // the tables are as wished
}

// sighting is where a flow was last seen to go.
type sighting struct {
	backend uint32
	last    uint32
	until   uint32 // the last second at which a packet still belongs to it
}

func newPromises(tables *dataplane.Tables, hash dataplane.Hash) promises {
	return promises{
		tables: tables,
		lookup: NewBalancer(tables, hash),
		flows:  make(map[Packet]sighting),
		unsure: make(map[string]uint32),
	}
}

// view is what can be known about a packet before it is sent.
type view struct {
	dataplane.Condition
	owner      uint32
	remembered uint32 // NoBackend if the flow is not
	hasRoom    bool   // the flow could be remembered
}

func (v view) String() string {
	return fmt.Sprintf("which is remembered at %d, in a %s slot of owner %d and fallback %d",
		v.remembered, v.Phase, v.owner, v.Fallback)
}

func (p *promises) look(packet Packet, second uint32) view {
	_, entry, known := p.tables.Find(packet.VIP)
	if !known {
		return view{}
	}
	slot := p.lookup.hash.Slot(packet.Client, packet.VIP, entry)
	v := view{owner: p.tables.Slots[slot], Condition: p.tables.Conditions.At(slot, packet.VIP.Protocol)}
	bucket := p.lookup.bucket(packet, second)
	if place, found := bucket.own(); found {
		v.remembered = dataplane.Flow(bucket.flows[place]).Backend()
		v.hasRoom = true
	} else {
		_, v.hasRoom = bucket.room()
	}
	return v
}

// keep checks what is promised about one packet.
func (p *promises) keep(packet Packet, before view, chosen, second uint32, seen *Seen) error {
	_, entry, known := p.tables.Find(packet.VIP)
	if !known {
		if chosen != dataplane.NoBackend {
			return errors.New("it is not for a VIP")
		}
		return nil
	}
	name := p.tables.Services[entry.Service].Name
	if err := p.reaches(name, chosen); err != nil {
		return err
	}
	isNew := packet.SYN || packet.VIP.Protocol == dataplane.UDP && !p.isSeen(packet, second) && before.remembered == dataplane.NoBackend
	if isNew && p.drains(name, chosen) {
		if !p.byLaw(packet, before, chosen) {
			return errors.New("a new flow went to a draining backend, which the law does not ask for")
		}
		seen.ByLaw++
	}
	return p.stays(packet, name, entry, chosen, second, seen)
}

// reaches: no packet goes to a dead backend after its removal, and none is
// dropped while there is a backend for new flows.
func (p *promises) reaches(name string, chosen uint32) error {
	if chosen == dataplane.NoBackend {
		for _, weight := range p.members[name] {
			if weight > 0 && p.complete {
				return errors.New("it was dropped though there is a backend")
			}
		}
		return nil
	}
	entry, known := p.tables.Backends[chosen]
	if !known || entry.Dead {
		return errors.New("that is dead")
	}
	if _, wanted := p.members[name][entry.ID]; !wanted && p.complete {
		return errors.New("that was removed")
	}
	return nil
}

func (p *promises) drains(name string, index uint32) bool {
	weight, wanted := p.members[name][p.tables.Backends[index].ID]
	return p.complete && wanted && weight == 0
}

// byLaw tells whether a new flow belongs to a backend that takes none: it could
// not be remembered, or it is of UDP, whose first packets look like any others.
func (p *promises) byLaw(packet Packet, before view, chosen uint32) bool {
	if packet.SYN {
		return before.Phase == dataplane.Moving && chosen == before.Fallback && !before.hasRoom
	}
	return before.Phase == dataplane.Learning && chosen == before.Fallback
}

func (p *promises) isSeen(packet Packet, second uint32) bool {
	packet.SYN = false
	seen, known := p.flows[packet]
	return known && int32(second-seen.until) <= 0
}

// stays: a flow to a living backend that is not silent for too long never
// changes its backend. A SYN begins a new flow.
func (p *promises) stays(packet Packet, name string, entry dataplane.VIPEntry, chosen, second uint32, seen *Seen) error {
	flow := packet
	flow.SYN = false
	if p.wish[name].Tracking == dataplane.TrackNever {
		p.doubt(name, second)
	}
	if int32(second-p.unsure[name]) <= 0 || !p.stayed(name, chosen) {
		delete(p.flows, flow)
		return nil
	}
	before := p.flows[flow]
	if !packet.SYN && p.isSeen(packet, second) {
		seen.Checked++
		if before.backend != chosen {
			return fmt.Errorf("at second %d the flow went to backend %d, which lives", before.last, before.backend)
		}
	}
	idle := entry.IdleSeconds
	if packet.SYN {
		idle = min(idle, synOnlySeconds)
	}
	p.flows[flow] = sighting{chosen, second, second + idle}
	return nil
}

// doubt: flows may move, and what is remembered of them is out of date until it
// has expired.
func (p *promises) doubt(name string, second uint32) {
	p.unsure[name] = second + longestIdle
}

// begin notes what a change is about to do.
func (p *promises) begin(wish []service, second uint32) {
	p.complete = false
	old := p.wish
	p.wish, p.members = make(map[string]service), make(map[string]map[dataplane.ID]uint16)
	for _, s := range wish {
		p.wish[s.Name] = s
		p.members[s.Name] = make(map[dataplane.ID]uint16)
		for _, m := range s.backends {
			p.members[s.Name][m.id()] = m.weight
		}
		if old[s.Name].Tracking == dataplane.TrackNever || s.Tracking == dataplane.TrackNever {
			p.doubt(s.Name, second)
		}
	}
	for vip, entry := range p.tables.VIPs {
		s := p.wish[p.tables.Services[entry.Service].Name]
		idle := s.IdleTCP
		if vip.Protocol == dataplane.UDP {
			idle = s.IdleUDP
		}
		// Whoever remembered every flow knows of some that are elsewhere than at
		// the owner of their settled slot, from changes long ago.
		forgets := entry.TrackAlways && s.Tracking != dataplane.TrackAlways
		if forgets || entry.AffinityClient != s.AffinityClient || entry.SlotCount != s.Slots ||
			idle < entry.IdleSeconds || len(s.VIPs) < len(s.vips) {
			p.doubt(s.Name, second)
		}
	}
	p.forgetTheDying()
}

// forgetTheDying: flows of backends that are about to go may move at any step.
func (p *promises) forgetTheDying() {
	for flow, seen := range p.flows {
		_, entry, _ := p.tables.Find(flow.VIP)
		name := p.tables.Services[entry.Service].Name
		if !p.stayed(name, seen.backend) {
			delete(p.flows, flow)
		}
	}
}

// stayed tells whether a backend is alive and not about to go.
func (p *promises) stayed(name string, index uint32) bool {
	_, wanted := p.members[name][p.tables.Backends[index].ID]
	return wanted && p.lookup.alive(index)
}

// finish: once a change is complete, no slot names a backend that is not alive.
func (p *promises) finish() error {
	p.complete = true
	return p.eachSlot(func(slot, owner uint32, protocol dataplane.Protocol, c dataplane.Condition) error {
		for role, index := range map[string]uint32{"owner": owner, "fallback": c.Fallback} {
			if index != dataplane.NoBackend && !p.lookup.alive(index) {
				return fmt.Errorf("the %s of slot %d for %s is backend %d, which is not alive", role, slot, protocol, index)
			}
		}
		return nil
	})
}

// eachSlot visits the slots that VIPs lead to, once for each VIP.
func (p *promises) eachSlot(visit func(slot, owner uint32, protocol dataplane.Protocol, c dataplane.Condition) error) error {
	for vip, entry := range p.tables.VIPs {
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			condition := p.tables.Conditions.At(slot, vip.Protocol)
			if err := visit(slot, p.tables.Slots[slot], vip.Protocol, condition); err != nil {
				return err
			}
		}
	}
	return nil
}

// free: an index is free only when no flow can name it.
func (p *promises) free(index uint32) error {
	for _, word := range p.tables.Flows {
		if word != 0 && dataplane.Flow(word).Backend() == index {
			return fmt.Errorf("backend %d is freed, and flow %x names it", index, word)
		}
	}
	return nil
}

// settled: every slot settles when traffic allows it.
func (p *promises) settled() error {
	for vip, entry := range p.tables.VIPs {
		if entry.Unsettled {
			return fmt.Errorf("in the end %s is still unsettled", vip)
		}
	}
	return p.eachSlot(func(slot, owner uint32, protocol dataplane.Protocol, c dataplane.Condition) error {
		if c.Phase != dataplane.Settled {
			return fmt.Errorf("in the end slot %d is %s for %s", slot, c.Phase, protocol)
		}
		return nil
	})
}

// empty: memory is bounded.
func (p *promises) empty() error {
	for index, entry := range p.tables.Backends {
		return fmt.Errorf("in the end backend %d is left: %+v", index, entry)
	}
	for place, word := range p.tables.Flows {
		if word != 0 {
			return fmt.Errorf("in the end flow %x is left at %d", word, place)
		}
	}
	return nil
}
