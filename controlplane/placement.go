package controlplane

import (
	"sync/atomic"

	"github.com/pointsman/pointsman/dataplane"
)

// placement is where a backend is in the tables.
type placement struct {
	index    uint32
	slots    uint32 // that it owns
	fallback uint32 // slots that it may not own and whose forgotten flows are its
	hop      dataplane.Hop
}

// standing is how one service stands in the tables. Nobody changes it, since
// the API reads it.
type standing struct {
	id       uint32
	backends map[dataplane.ID]placement
	phases   map[dataplane.Protocol]phases // of the protocols that a VIP has
}

// phases are numbers of slots by dataplane.Phase.
type phases [4]uint32

// placements are the standings by the names of services.
type placements map[string]standing

// touched are the services that steps were about.
func touched(tables *dataplane.Tables, steps []dataplane.Step) map[uint32]bool {
	ids, names := map[uint32]bool{}, map[string]bool{}
	for _, step := range steps {
		switch s := step.(type) {
		case dataplane.PutService:
			ids[s.ID] = true
		case dataplane.PutBackend:
			ids[s.Entry.Service] = true
		case dataplane.PutVIP:
			ids[s.Entry.Service] = true
		case dataplane.PutConditions:
			names[s.Name] = true
		}
	}
	for id, service := range tables.Services {
		if names[service.Name] {
			ids[id] = true
		}
	}
	return ids
}

// count looks at services anew; nil is all of them.
func (p placements) count(tables *dataplane.Tables, ids map[uint32]bool) {
	counted := map[uint32]standing{}
	for id, service := range tables.Services {
		if ids == nil || ids[id] {
			counted[id] = standing{id: id, backends: map[dataplane.ID]placement{}, phases: map[dataplane.Protocol]phases{}}
			p[service.Name] = counted[id]
		}
	}
	unsettled := map[uint32][]dataplane.Protocol{}
	for vip, entry := range tables.VIPs {
		of, asked := counted[entry.Service]
		if _, known := of.phases[vip.Protocol]; known || !asked {
			continue
		}
		of.phases[vip.Protocol] = phases{dataplane.Settled: entry.SlotCount}
		if entry.Unsettled { // all of a service's VIPs of a protocol are, or none
			unsettled[entry.Service] = append(unsettled[entry.Service], vip.Protocol)
		}
	}
	tally := tally{owned: make([]uint32, tables.Limits.Backends), fallback: make([]uint32, tables.Limits.Backends)}
	for id, of := range counted {
		tally.count(tables, tables.Services[id], unsettled[id], of.phases)
	}
	for index, backend := range tables.Backends {
		if of, asked := counted[backend.Service]; asked && !backend.Dead && index < tables.Limits.Backends {
			of.backends[backend.ID] = placement{index, tally.owned[index], tally.fallback[index], backend.Hop}
		}
	}
}

// tally is how many slots there are of each backend, by index: arrays, because
// there are millions of slots.
type tally struct{ owned, fallback []uint32 }

func (t tally) count(tables *dataplane.Tables, service dataplane.ServiceEntry, unsettled []dataplane.Protocol, into map[dataplane.Protocol]phases) {
	seen := make([]phases, len(unsettled))
	for slot := service.FirstSlot; slot < service.FirstSlot+service.SlotCount; slot++ {
		if owner := atomic.LoadUint32(&tables.Slots[slot]); owner < uint32(len(t.owned)) {
			t.owned[owner]++
		}
		last := dataplane.NoBackend
		for i, protocol := range unsettled {
			condition := tables.Conditions.At(slot, protocol)
			seen[i][condition.Phase]++
			index := condition.Fallback
			if index != dataplane.NoBackend && index != last && index < uint32(len(t.fallback)) {
				t.fallback[index]++
				last = index // a slot counts once, whatever its protocols
			}
		}
	}
	for i, protocol := range unsettled {
		into[protocol] = seen[i]
	}
}
