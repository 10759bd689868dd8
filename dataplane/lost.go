package dataplane

import "maps"

// lostRecords returns the records of services that somebody deleted, as far as the
// VIPs tell them, and tables that have them again: a VIP that leads to an id without
// a record led to the service that wants it, since VIPs are the first to go where a
// service goes. So it keeps its id, its slots and their phases, and its backends
// keep their indexes.
func lostRecords(have *Tables, want State) ([]Step, *Tables) {
	recorded := make(map[string]bool, len(have.Services))
	for _, entry := range have.Services {
		recorded[entry.Name] = true
	}
	var steps []Step
	for i := range want.Services {
		s := &want.Services[i]
		for _, vip := range s.VIPs {
			entry, leads := have.VIPs[vip]
			if !leads || recorded[s.Name] || !mayOwn(have, entry) {
				continue
			}
			recorded[s.Name] = true
			record := PutService{entry.Service, ServiceEntry{Name: s.Name, FirstSlot: entry.FirstSlot, SlotCount: entry.SlotCount}}
			recovered := *have
			recovered.Services = maps.Clone(have.Services)
			record.Replay(&recovered)
			have, steps = &recovered, append(steps, record)
		}
	}
	return steps, have
}

// mayOwn tells whether an entry of a VIP can be right about a service that has no
// record: its slots exist and are no other service's.
func mayOwn(have *Tables, e VIPEntry) bool {
	first, end := uint64(e.FirstSlot), uint64(e.FirstSlot)+uint64(e.SlotCount)
	if _, known := have.Services[e.Service]; known || e.Service >= have.Limits.Services || end > uint64(len(have.Slots)) || len(have.Services) >= int(have.Limits.Services) {
		return false
	}
	for _, other := range have.Services {
		if first < uint64(other.FirstSlot)+uint64(other.SlotCount) && uint64(other.FirstSlot) < end {
			return false
		}
	}
	return true
}
