package dataplane

import (
	"fmt"
)

// plan is how one service will be as wanted.
type plan struct {
	want  *Service
	id    uint32
	entry ServiceEntry // as it will be
	held  ServiceEntry // as it is; without a fingerprint if new
	isNew bool
	puts  []PutBackend
	gone  []uint32 // indexes of backends that it has no more
	// hasNewcomers says that a backend was not there, though it may be known.
	hasNewcomers bool

	indexes []uint32        // of the wanted backends
	living  map[uint32]bool // the same
	rebuild bool            // the table may differ from the one that is held
	slots   []SlotOwner     // those that change

	transitions []transition // of the lanes that VIPs led or lead to
}

func (p *plan) vipEntry(protocol Protocol) VIPEntry {
	quic := p.want.QUIC
	if protocol != UDP {
		quic = QUIC{}
	}
	return VIPEntry{
		QUIC:           quic,
		Service:        p.id,
		FirstSlot:      p.entry.FirstSlot,
		SlotCount:      p.entry.SlotCount,
		IdleSeconds:    p.want.idleSeconds(protocol),
		TrackAlways:    p.want.tracking() == TrackAlways,
		AffinityClient: p.want.AffinityClient,
		NAT:            p.want.NAT,
	}
}

// fit plans a service, or says what there is no room for.
func (d *difference) fit(s *Service) (problem string) {
	p := &plan{want: s}
	if problem := d.locate(p); problem != "" {
		return problem
	}
	vips := 0
	for _, vip := range s.VIPs {
		if _, known := d.have.VIPs[vip]; !known {
			vips++
		}
	}
	if vips > d.room.vips {
		return fmt.Sprintf("there is no room for %d more VIPs, only for %d", vips, d.room.vips)
	}
	added := d.match(p)
	if added > d.room.backendsLeft {
		return fmt.Sprintf("there is no room for %d more backends, only for %d", added, d.room.backendsLeft)
	}

	d.room.vips -= vips
	if p.isNew {
		d.room.open(p.id, p.entry.FirstSlot, p.entry.SlotCount)
	}
	d.addBackends(p)
	p.entry.Fingerprint, d.scratch = fingerprint(s, d.scratch)
	// A backend that came or went without the fingerprint's knowledge means
	// that someone else wrote to the tables.
	p.rebuild = p.entry.Fingerprint != p.held.Fingerprint || p.hasNewcomers || len(p.gone) > 0 || d.doubted[s.Name]
	d.plans = append(d.plans, p)
	d.byName[s.Name] = p
	return ""
}

// locate finds the id and the slots of a service: those it has if their number
// is right, else new ones. To go over to nat or away from it takes new ones, too:
// a VIP's packets meet backends of its own kind only, and so at every moment.
func (d *difference) locate(p *plan) (problem string) {
	for _, id := range d.idsOf[p.want.Name] {
		held := d.have.Services[id]
		if d.isNAT[id] != p.want.NAT && d.hasVIP[id] {
			continue
		}
		if held.SlotCount == p.want.Slots && uint64(held.FirstSlot)+uint64(held.SlotCount) <= uint64(len(d.have.Slots)) {
			p.id, p.held, p.entry = id, held, held
			return ""
		}
	}
	id, found := d.room.service()
	if !found {
		return fmt.Sprintf("there is no room for another service: all %d are in use", d.room.serviceLimit)
	}
	first, _, found := d.room.span(p.want.Slots)
	if !found {
		return fmt.Sprintf("there is no room for %d more slots in a row among %d", p.want.Slots, d.room.slots)
	}
	p.id, p.isNew = id, true
	p.entry = ServiceEntry{Name: p.want.Name, FirstSlot: first, SlotCount: p.want.Slots}
	p.held = p.entry
	return ""
}

// match finds the index of each backend, NoBackend for those to be added, and
// says how many these are. It notes which entries change and which indexes are
// needed no more.
func (d *difference) match(p *plan) (added int) {
	held := d.backends(p.want.Name)
	p.indexes = make([]uint32, len(p.want.Backends))
	// Mostly nothing has changed, and then the backends are in the order in
	// which they were given their indexes.
	for i := range p.want.Backends {
		if i >= len(held) || !d.keepBackend(p, i, held[i]) {
			p.puts = nil
			return d.matchByID(p, held)
		}
		p.indexes[i] = held[i]
	}
	p.gone = held[len(p.indexes):]
	return 0
}

// kin is what a backend has to keep to keep its index: a VIP of nat must never lead
// to one that is not, nor the other way round.
type kin struct {
	ID
	nat bool
}

func kinOf(id ID, forward Forward) kin { return kin{id, forward == NAT} }

func (d *difference) matchByID(p *plan, held []uint32) (added int) {
	indexOf := make(map[kin]uint32, len(held))
	for _, index := range held {
		entry := d.entry(index)
		is := kinOf(entry.ID, entry.Forward)
		if _, twice := indexOf[is]; twice {
			p.gone = append(p.gone, index)
		} else {
			indexOf[is] = index
		}
	}
	for i := range p.want.Backends {
		is := kinOf(p.want.Backends[i].ID, p.want.Backends[i].Forward)
		index, known := indexOf[is]
		if known {
			d.keepBackend(p, i, index)
			delete(indexOf, is)
		} else {
			p.hasNewcomers = true
			if index = d.revive(p, i); index == NoBackend {
				added++
			}
		}
		p.indexes[i] = index
	}
	for _, index := range held {
		if entry := d.entry(index); indexOf[kinOf(entry.ID, entry.Forward)] == index {
			p.gone = append(p.gone, index)
		}
	}
	return added
}

// keepBackend gives a wanted backend the index if it is its own, and notes
// whether its entry changes.
func (d *difference) keepBackend(p *plan, i int, index uint32) bool {
	held, wanted := d.entry(index), &p.want.Backends[i]
	if kinOf(held.ID, held.Forward) != kinOf(wanted.ID, wanted.Forward) {
		return false
	}
	if held.Service != p.id || held.Forward != wanted.Forward || held.Hop != wanted.Hop {
		p.puts = append(p.puts, PutBackend{Index: index, Entry: p.backendEntry(i)})
	}
	return true
}

func (p *plan) backendEntry(i int) BackendEntry {
	b := &p.want.Backends[i]
	return BackendEntry{Service: p.id, ID: b.ID, Forward: b.Forward, Hop: b.Hop}
}

// revive gives a backend that comes back the index it had, unless a flow still
// names that: since the backend died, the flow has gone on elsewhere. A new
// service may have the id of one that is gone, but not its backends.
func (d *difference) revive(p *plan, i int) (index uint32) {
	entry := p.backendEntry(i)
	index, known := d.dead[tombOf(entry)]
	if p.isNew || !known || d.isNamed(index) {
		return NoBackend
	}
	p.puts = append(p.puts, PutBackend{Index: index, Entry: entry})
	return index
}

// addBackends gives indexes to the backends that have none.
func (d *difference) addBackends(p *plan) {
	for i, index := range p.indexes {
		if index == NoBackend {
			p.indexes[i] = d.room.backend()
			p.puts = append(p.puts, PutBackend{Index: p.indexes[i], Entry: p.backendEntry(i), New: true})
		}
	}
}

// alive tells whether an index will be that of a backend of the service.
func (p *plan) alive(index uint32) bool {
	if p.living == nil {
		p.living = make(map[uint32]bool, len(p.indexes))
		for _, living := range p.indexes {
			p.living[living] = true
		}
	}
	return p.living[index]
}
