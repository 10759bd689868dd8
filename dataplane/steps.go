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
			steps = append(steps, PutService{p.id, p.unsealed()})
		}
	}
	for _, p := range d.plans {
		for _, put := range p.puts {
			steps = append(steps, put)
		}
	}
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
func (p *plan) unsealed() ServiceEntry {
	entry := p.entry
	entry.Fingerprint = 0
	return entry
}

func (p *plan) appendSlots(steps []Step) []Step {
	if len(p.slots) > 0 {
		if p.held.Fingerprint != 0 {
			steps = append(steps, PutService{p.id, p.unsealed()})
		}
		steps = append(steps, PutSlots{p.entry.Name, p.slots})
	}
	if len(p.slots) > 0 || p.held != p.entry {
		steps = append(steps, PutService{p.id, p.entry})
	}
	return steps
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
		if held, known := d.have.VIPs[vip]; !known || held != d.vips[vip] {
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
	for _, id := range sorted(d.have.Services) {
		if staying[id] || d.kept[id] {
			continue
		}
		entry := d.have.Services[id]
		if owners := d.cleared(entry); len(owners) > 0 {
			steps = append(steps, PutSlots{entry.Name, owners})
		}
		steps = append(steps, DeleteService{id})
		if d.byName[entry.Name] == nil { // else its backends are in that plan
			gone = append(gone, d.indexesOf[id]...)
		}
	}
	slices.Sort(gone)
	for _, index := range gone {
		steps = append(steps, DeleteBackend{index})
	}
	return steps
}

// cleared returns the slots of a service that somebody owns, owned by nobody.
func (d *difference) cleared(entry ServiceEntry) []SlotOwner {
	end := min(uint64(entry.FirstSlot)+uint64(entry.SlotCount), uint64(len(d.have.Slots)))
	if uint64(entry.FirstSlot) >= end {
		return nil
	}
	slots := d.have.Slots[entry.FirstSlot:end]
	return changed(slots, entry.FirstSlot, make([]uint32, len(slots)))
}
