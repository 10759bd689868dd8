package dataplane

import (
	"cmp"
	"maps"
	"net/netip"
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
	steps = d.appendNAT(steps)
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
	ids := d.quicIDs()
	steps = d.appendQUICIDs(steps, ids)
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
	steps = d.appendQUICDeletions(steps, ids)
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
	for _, t := range p.transitions {
		steps = appendConditions(steps, p.entry.Name, t.entering)
	}
	if len(p.slots) > 0 {
		steps = appendOwners(steps, p.id, p.held, p.slots)
	}
	for _, t := range p.transitions {
		steps = appendConditions(steps, p.entry.Name, t.leaving)
	}
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
	for vip, held := range d.have.VIPs {
		next, stays := d.vips[vip]
		if p := d.byName[d.have.Services[held.Service].Name]; p != nil && (!stays || !next.sameTable(held)) {
			losing[p] = true
		}
	}
	gaining := make(map[uint32]bool)
	for vip, next := range d.vips {
		if held, known := d.have.VIPs[vip]; !known || !next.sameTable(held) {
			gaining[next.Service] = true
		}
	}
	maps.DeleteFunc(losing, func(p *plan, _ bool) bool { return gaining[p.id] })
	return losing
}

func (d *difference) appendVIPs(steps []Step) []Step {
	before, after := addresses(d.have.VIPs), addresses(d.vips)
	for _, addr := range sortedAddresses(d.have.Addresses) {
		if !before[addr] && !after[addr] { // someone else's doing; its room may be needed
			steps = append(steps, DeleteAddress{addr})
		}
	}
	for _, addr := range sortedAddresses(after) {
		if !d.have.Addresses[addr] {
			steps = append(steps, PutAddress{addr})
		}
	}
	prefixes := prefixesOf(d.vips)
	steps = d.appendPrefixes(steps, prefixes)
	wanted := sortedVIPs(d.vips)
	slices.SortStableFunc(wanted, VIP.CompareWidth)
	for _, vip := range wanted {
		held, known := d.marked[vip]
		if !known {
			held, known = d.have.VIPs[vip]
		}
		if !known || held != d.vips[vip] {
			steps = append(steps, PutVIP{vip, d.vips[vip]})
		}
	}
	held := sortedVIPs(d.have.VIPs)
	slices.SortStableFunc(held, func(a, b VIP) int { return b.CompareWidth(a) })
	for _, vip := range held {
		if _, stays := d.vips[vip]; !stays {
			steps = append(steps, DeleteVIP{vip})
		}
	}
	for _, addr := range sortedAddresses(d.have.Addresses) {
		if before[addr] && !after[addr] {
			steps = append(steps, DeleteAddress{addr})
		}
	}
	return d.appendPrefixDeletions(steps, prefixes)
}

// addresses are those of the exact VIPs; of wide ones there are the prefixes.
func addresses(vips map[VIP]VIPEntry) map[netip.Addr]bool {
	all := make(map[netip.Addr]bool, len(vips))
	for vip := range vips {
		if !vip.IsWide() {
			all[vip.Addr] = true
		}
	}
	return all
}

func sortedAddresses(all map[netip.Addr]bool) []netip.Addr {
	return slices.SortedFunc(maps.Keys(all), netip.Addr.Compare)
}

func sortedVIPs(vips map[VIP]VIPEntry) []VIP {
	list := make([]VIP, 0, len(vips))
	for vip := range vips {
		list = append(list, vip)
	}
	slices.SortFunc(list, func(a, b VIP) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.CompareWidth(b))
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
		for _, protocol := range []Protocol{TCP, UDP} {
			steps = appendConditions(steps, entry.Name, unsettledSlots(d.have, entry, protocol))
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
	return d.appendTombs(steps, append(gone, d.tombs...), staying)
}

// appendTombs marks backends as dead, and those whose service goes, too, as of
// none: another service may get its id, but not their indexes.
func (d *difference) appendTombs(steps []Step, gone []uint32, staying map[uint32]bool) []Step {
	slices.Sort(gone)
	for _, index := range gone {
		entry := d.entry(index)
		tomb := tombOf(entry)
		if _, known := d.have.Services[tomb.Service]; !known || !staying[tomb.Service] && !d.kept[tomb.Service] {
			tomb.Service = noService
		}
		if tomb != entry {
			steps = append(steps, PutBackend{Index: index, Entry: tomb})
		}
	}
	return steps
}

// noService is the id of none.
const noService = 1<<32 - 1

// cleared returns the slots of a service that somebody owns, owned by nobody.
func (d *difference) cleared(entry ServiceEntry) []SlotOwner {
	first, end := entry.within(d.have)
	return changed(d.have.Slots[first:end], first, make([]uint32, end-first))
}
