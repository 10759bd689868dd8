package dataplane

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pointsman/pointsman/dataplane/maglev"
)

// buildTables finds the slots that change in all plans, on all CPUs: nearly all
// the time of a cold start goes into this. It returns when all are done.
func (d *difference) buildTables() {
	var rebuilt []*plan
	for _, p := range d.plans {
		if p.rebuild {
			rebuilt = append(rebuilt, p)
		}
	}
	var builders sync.WaitGroup
	var next atomic.Int64
	for range min(len(rebuilt), runtime.GOMAXPROCS(0)) {
		builders.Go(func() {
			for i := next.Add(1); i <= int64(len(rebuilt)); i = next.Add(1) {
				rebuilt[i-1].buildTable(d.have)
			}
		})
	}
	builders.Wait()
}

func (p *plan) buildTable(have *Tables) {
	slots := have.Slots[p.entry.FirstSlot:][:p.entry.SlotCount]
	p.slots = changed(slots, p.entry.FirstSlot, build(p.want, p.indexes))
}

// build returns the owner of each slot of a service.
func build(s *Service, indexes []uint32) []uint32 {
	members := make([]maglev.Member, len(s.Backends))
	for i := range s.Backends {
		members[i] = maglev.Member{Key: s.Backends[i].ID.String(), Weight: int(s.Backends[i].Weight)}
	}
	owners := maglev.Build(members, int(s.Slots))
	if owners == nil {
		return make([]uint32, s.Slots) // NoBackend
	}
	for slot, member := range owners {
		owners[slot] = indexes[member]
	}
	return owners
}

// changed returns the slots whose owner is not the wanted one.
func changed(have []uint32, first uint32, want []uint32) []SlotOwner {
	count := 0
	for slot, owner := range want {
		if have[slot] != owner {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	owners := make([]SlotOwner, 0, count)
	for slot, owner := range want {
		if have[slot] != owner {
			owners = append(owners, SlotOwner{Slot: first + uint32(slot), Owner: owner})
		}
	}
	return owners
}
