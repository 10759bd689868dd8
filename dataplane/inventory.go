package dataplane

// inventory is what is held, by service.
type inventory struct {
	have      *Tables
	idsOf     map[string][]uint32 // the ids that bear a name; two, if a change of slots was interrupted
	indexesOf map[uint32][]uint32 // the backends of an id, ascending
	orphans   []uint32            // backends of no service
	serviceOf []uint64            // by index: 1 + the id of the service, 0 if free
}

// takeInventory goes through the backends in the order of the map only once,
// and then in that of their indexes: much faster than sorting.
func takeInventory(have *Tables) inventory {
	inv := inventory{
		have:      have,
		idsOf:     make(map[string][]uint32, len(have.Services)),
		indexesOf: make(map[uint32][]uint32, len(have.Services)),
		serviceOf: make([]uint64, have.Limits.Backends),
	}
	for _, id := range sorted(have.Services) {
		name := have.Services[id].Name
		inv.idsOf[name] = append(inv.idsOf[name], id)
	}
	for index, entry := range have.Backends {
		if index < have.Limits.Backends {
			inv.serviceOf[index] = 1 + uint64(entry.Service)
		}
	}
	for index, service := range inv.serviceOf {
		if service == 0 {
			continue
		}
		id := uint32(service - 1)
		if _, known := have.Services[id]; known {
			inv.indexesOf[id] = append(inv.indexesOf[id], uint32(index))
		} else {
			inv.orphans = append(inv.orphans, uint32(index))
		}
	}
	return inv
}

// backends returns the indexes of all backends of a service, whatever its id.
func (inv *inventory) backends(name string) []uint32 {
	ids := inv.idsOf[name]
	if len(ids) == 1 {
		return inv.indexesOf[ids[0]]
	}
	var all []uint32
	for _, id := range ids {
		all = append(all, inv.indexesOf[id]...)
	}
	return all
}
