package dataplane

import (
	"maps"
	"sync/atomic"
)

// Foresee says for each service, by name, which share of its flows, 0 to 1, would
// begin at another backend after steps than before them. It is exact: the owners
// of all slots are compared, also where their number changes. Services that are
// new or go are left out.
func Foresee(have *Tables, steps []Step) map[string]float64 {
	services := maps.Clone(have.Services)
	owners := make(map[uint32]uint32)
	backends := make(map[uint32]ID)
	for _, step := range steps {
		switch s := step.(type) {
		case PutService:
			services[s.ID] = s.Entry
		case DeleteService:
			delete(services, s.ID)
		case PutBackend:
			backends[s.Index] = s.Entry.ID
		case PutSlots:
			for _, o := range s.Owners {
				owners[o.Slot] = o.Owner
			}
		}
	}
	owned := func(slot uint32) ID { return have.Backends[atomic.LoadUint32(&have.Slots[slot])].ID }
	willOwn := func(slot uint32) ID {
		index, changes := owners[slot]
		if !changes {
			index = atomic.LoadUint32(&have.Slots[slot])
		}
		if id, changes := backends[index]; changes {
			return id
		}
		return have.Backends[index].ID
	}
	before, moved := byName(have.Services), make(map[string]float64)
	for name, is := range byName(services) {
		if was, known := before[name]; known {
			moved[name] = movedShare(was, is, owned, willOwn)
		}
	}
	return moved
}

func byName(services map[uint32]ServiceEntry) map[string]ServiceEntry {
	named := make(map[string]ServiceEntry, len(services))
	for _, id := range sorted(services) {
		named[services[id].Name] = services[id]
	}
	return named
}

// movedShare goes along the range of hashes, which both tables cut into slots of
// equal size, from one cut to the next.
func movedShare(was, is ServiceEntry, owned, willOwn func(uint32) ID) float64 {
	m, n := uint64(was.SlotCount), uint64(is.SlotCount)
	var moved, at uint64 // in parts of 1/(m·n) of the range
	for i, j := uint64(0), uint64(0); i < m && j < n; {
		next := min((i+1)*n, (j+1)*m)
		if owned(was.FirstSlot+uint32(i)) != willOwn(is.FirstSlot+uint32(j)) {
			moved += next - at
		}
		at = next
		if at == (i+1)*n {
			i++
		}
		if at == (j+1)*m {
			j++
		}
	}
	return float64(moved) / float64(m*n)
}
