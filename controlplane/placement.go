package controlplane

import (
	"sync/atomic"

	"github.com/pointsman/pointsman/dataplane"
)

// placement is where a backend is in the tables.
type placement struct {
	index uint32
	slots uint32 // that it owns
	hop   dataplane.Hop
}

// placements are where the backends of each service are, by service name.
// Those of one service are replaced, never changed, since the API reads them.
type placements map[string]map[dataplane.ID]placement

// count looks the services up that the steps were about; nil is all of them.
func (p placements) count(tables *dataplane.Tables, steps []dataplane.Step) {
	touched := map[uint32]bool{}
	for _, step := range steps {
		switch s := step.(type) {
		case dataplane.PutService:
			touched[s.ID] = true
		case dataplane.PutBackend:
			touched[s.Entry.Service] = true
		}
	}
	backends := map[uint32]map[dataplane.ID]placement{}
	for id, service := range tables.Services {
		if steps != nil && !touched[id] {
			continue
		}
		backends[id] = map[dataplane.ID]placement{}
		p[service.Name] = backends[id]
	}
	owned := map[uint32]uint32{}
	for id := range backends {
		service := tables.Services[id]
		for slot := range service.SlotCount {
			owned[atomic.LoadUint32(&tables.Slots[service.FirstSlot+slot])]++
		}
	}
	for index, backend := range tables.Backends {
		if of, counted := backends[backend.Service]; counted {
			of[backend.ID] = placement{index, owned[index], backend.Hop}
		}
	}
}
