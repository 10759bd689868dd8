package dataplane

import (
	"cmp"
	"slices"
)

// steps lists them in the order that Diff explains.
func (d *difference) steps() []Step {
	var steps []Step
	needed := d.egress()
	for _, ifindex := range sorted(needed) {
		if !d.have.Egress[ifindex] {
			steps = append(steps, PutEgress{ifindex})
		}
	}
	for _, p := range d.plans {
		if p.isNew {
			steps = append(steps, PutService{p.id, p.entry.unsealed()})
		}
	}
	for _, p := range d.plans {
		for _, put := range p.puts {
			steps = append(steps, put)
		}
	}
	steps = d.appendMarks(steps)
	late := d.onlyLoseVIPs()
	for _, p := range d.plans {
		if !late[p] {
			steps = p.appendSlots(steps)
		}
	}
	steps = d.appendVIPs(steps)
	for _, p := range d.plans {
		if late[p] {
			steps = p.appendSlots(steps)
		}
	}
	steps = d.appendDeletions(steps)
	for _, ifindex := range sorted(d.have.Egress) {
		if !needed[ifindex] {
			steps = append(steps, DeleteEgress{ifindex})
		}
	}
	return steps
}

// unsealed is the entry of a service while its slots are written.
func (e ServiceEntry) unsealed() ServiceEntry {
	e.Fingerprint = 0
	return e
}

func (p *plan) appendSlots(steps []Step) []Step {
	steps = appendConditions(steps, p.entry.Name, p.entering)
	if len(p.slots) > 0 {
		steps = appendOwners(steps, p.id, p.held, p.slots)
	}
	steps = appendConditions(steps, p.entry.Name, p.leaving)
	if len(p.slots) > 0 || p.held != p.entry {
		steps = append(steps, PutService{p.id, p.entry})
	}
	return steps
}

func appendConditions(steps []Step, name string, changes []SlotCondition) []Step {
	if len(changes) == 0 {
		return steps
	}
	return append(steps, PutConditions{name, changes})
}

// appendOwners takes the fingerprint away before the first slot is written.
func appendOwners(steps []Step, id uint32, held ServiceEntry, owners []SlotOwner) []Step {
	if held.Fingerprint != 0 {
		steps = append(steps, PutService{id, held.unsealed()})
	}
	return append(steps, PutSlots{held.Name, owners})
}

// onlyLoseVIPs returns the plans of services that VIPs leave and none comes to.
func (d *difference) onlyLoseVIPs() map[*plan]bool {
	losing := make(map[*plan]bool)
	for vip, entry := range d.have.VIPs {
		p := d.byName[d.have.Services[entry.Service].Name]
		if p != nil && d.vips[vip] != entry {
			losing[p] = true
		}
	}
	for _, p := range d.plans {
		if p.gains {
			delete(losing, p)
		}
	}
	return losing
}

func (d *difference) appendVIPs(steps []Step) []Step {
	for _, vip := range sortedVIPs(d.vips) {
		held, known := d.marked[vip]
		if !known {
			held, known = d.have.VIPs[vip]
		}
		if !known || held != d.vips[vip] {
			steps = append(steps, PutVIP{vip, d.vips[vip]})
		}
	}
	for _, vip := range sortedVIPs(d.have.VIPs) {
		if _, stays := d.vips[vip]; !stays {
			steps = append(steps, DeleteVIP{vip})
		}
	}
	return steps
}

func sortedVIPs(vips map[VIP]VIPEntry) []VIP {
	list := make([]VIP, 0, len(vips))
	for vip := range vips {
		list = append(list, vip)
	}
	slices.SortFunc(list, func(a, b VIP) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return list
}

// appendDeletions frees the ids and indexes that nobody needs any more.
func (d *difference) appendDeletions(steps []Step) []Step {
	gone := slices.Clone(d.orphans)
	staying := make(map[uint32]bool, len(d.plans))
	for _, p := range d.plans {
		staying[p.id] = true
		gone = append(gone, p.gone...)
	}
	var ids []uint32
	for _, id := range sorted(d.have.Services) {
		if staying[id] || d.kept[id] {
			continue
		}
		ids = append(ids, id)
		entry := d.have.Services[id]
		if owners := d.cleared(entry); len(owners) > 0 {
			steps = appendOwners(steps, id, entry, owners)
		}
		for _, protocol := range protocols {
			steps = appendConditions(steps, entry.Name, d.unsettledSlots(entry, protocol))
		}
		if d.byName[entry.Name] == nil { // else its backends are in that plan
			gone = append(gone, d.indexesOf[id]...)
		}
	}
	// All slots first: where a change of slots was interrupted, those of one id
	// name backends that say they belong to the other.
	for _, id := range ids {
		steps = append(steps, DeleteService{id})
	}
	slices.Sort(gone)
	for _, index := range gone {
		steps = append(steps, d.bury(index, staying))
	}
	return steps
}

// bury marks a backend as dead. One whose service is gone, too, will not come
// back as the same.
func (d *difference) bury(index uint32, staying map[uint32]bool) Step {
	tomb := tombOf(d.entryOf[index])
	if _, known := d.have.Services[tomb.Service]; !known || !staying[tomb.Service] && !d.kept[tomb.Service] {
		tomb.Service = noService
	}
	return PutBackend{Index: index, Entry: tomb}
}

// noService is the id of none.
const noService = 1<<32 - 1

// cleared returns the slots of a service that somebody owns, owned by nobody.
func (d *difference) cleared(entry ServiceEntry) []SlotOwner {
	end := min(uint64(entry.FirstSlot)+uint64(entry.SlotCount), uint64(len(d.have.Slots)))
	if uint64(entry.FirstSlot) >= end {
		return nil
	}
	slots := d.have.Slots[entry.FirstSlot:end]
	return changed(slots, entry.FirstSlot, make([]uint32, len(slots)))
}
