package dataplane

// inventory is what is held, by service.
type inventory struct {
	have      *Tables
	tombs     []uint32                // indexes of dead backends
	dead      map[BackendEntry]uint32 // the lowest index of a dead backend
	named     []bool                  // of isNamed
	idsOf     map[string][]uint32     // the ids that bear a name; two, if a change of slots was interrupted
	indexesOf map[uint32][]uint32     // the backends of an id, ascending
	hasVIP    map[uint32]bool         // ids that a VIP leads to
	isNAT     map[uint32]bool         // and those whose VIPs are NAT
	orphans   []uint32                // backends of no service
	serviceOf []uint64                // by index: 1 + the id of the service, 0 if free
	entryOf   []BackendEntry          // by index; nil if few are looked at, see entry
	reachedBy []uint32                // by index: the interface of the hop
	run       []uint32                // scratch of group
}

// nobody is the service of dead backends, above all ids.
const nobody = 1 << 32

// tombOf is the entry of a backend that has died.
func tombOf(entry BackendEntry) BackendEntry {
	return BackendEntry{Service: entry.Service, ID: entry.ID, Forward: entry.Forward, Dead: true}
}

// takeInventory goes through the map of backends only once, and from then on
// through an array: with 100,000 of them, looking each up again would take
// longer than all the rest of a Diff that finds nothing to do. Where most services
// are left as they are, the array would be 10 MB of copies that nobody looks at.
func takeInventory(have *Tables, few bool) inventory {
	inv := inventory{
		have:      have,
		dead:      make(map[BackendEntry]uint32),
		idsOf:     make(map[string][]uint32, len(have.Services)),
		indexesOf: make(map[uint32][]uint32, len(have.Services)),
		hasVIP:    make(map[uint32]bool, len(have.Services)),
		isNAT:     make(map[uint32]bool),
		serviceOf: make([]uint64, min(have.Limits.Backends, MaxBackends)),
		reachedBy: make([]uint32, len(have.Backends)+1), // enough if no index is free below the highest
	}
	if !few {
		inv.entryOf = make([]BackendEntry, len(inv.reachedBy))
	}
	for _, id := range sorted(have.Services) {
		name := have.Services[id].Name
		inv.idsOf[name] = append(inv.idsOf[name], id)
	}
	for index, entry := range have.Backends {
		if int(index) >= len(inv.serviceOf) {
			continue
		}
		inv.note(index, entry)
		inv.serviceOf[index] = 1 + uint64(entry.Service)
		if entry.Dead {
			inv.bury(index, entry)
		}
	}
	for _, entry := range have.VIPs {
		inv.hasVIP[entry.Service] = true
		if entry.NAT {
			inv.isNAT[entry.Service] = true
		}
	}
	inv.group()
	return inv
}

// note makes room for an index where some below it are free.
func (inv *inventory) note(index uint32, entry BackendEntry) {
	if more := int(index) + 1 - len(inv.reachedBy); more > 0 {
		inv.reachedBy = append(inv.reachedBy, make([]uint32, more)...)
	}
	inv.reachedBy[index] = entry.Hop.Interface
	if inv.entryOf == nil {
		return
	}
	if more := int(index) + 1 - len(inv.entryOf); more > 0 {
		inv.entryOf = append(inv.entryOf, make([]BackendEntry, more)...)
	}
	inv.entryOf[index] = entry
}

// entry is the entry of an index that is in use.
func (inv *inventory) entry(index uint32) BackendEntry {
	if inv.entryOf == nil {
		return inv.have.Backends[index]
	}
	return inv.entryOf[index]
}

// bury keeps the index of a dead backend in use, by nobody.
func (inv *inventory) bury(index uint32, entry BackendEntry) {
	inv.serviceOf[index] = nobody
	inv.tombs = append(inv.tombs, index)
	tomb := tombOf(entry)
	if other, known := inv.dead[tomb]; !known || index < other {
		inv.dead[tomb] = index
	}
}

// isNamed tells whether a flow names an index. All flows are looked at once, and
// only if a backend has come back before its index was free.
func (inv *inventory) isNamed(index uint32) bool {
	if inv.named == nil {
		inv.named = inv.have.Flows.named()
	}
	return inv.named[index]
}

// group lists the backends of each service. Those of one follow one another, so
// only the first of each run has to be looked up.
func (inv *inventory) group() {
	inService := inv.serviceOf[:min(len(inv.serviceOf), len(inv.reachedBy))]
	for index := 0; index < len(inService); {
		service := inService[index]
		run := inv.run[:0]
		for ; index < len(inService) && inService[index] == service; index++ {
			run = append(run, uint32(index))
		}
		inv.run = run
		if service == 0 || service == nobody {
			continue
		}
		id := uint32(service - 1)
		if _, known := inv.have.Services[id]; known {
			inv.indexesOf[id] = append(inv.indexesOf[id], run...)
		} else {
			inv.orphans = append(inv.orphans, run...)
		}
	}
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
