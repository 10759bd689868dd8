package dataplane

import "slices"

// Phases is a note of the phases and fallbacks that conditions were left with.
// They cannot be computed once the change is over that they come from, and the
// tables have them only once; so whoever overwrites them there is found by this
// note alone. Seconds are the program's own to write. A nil *Phases notes nothing.
type Phases struct{ pages []*phasePage }

// phasePage is nil where all its slots are settled, as nearly all are: then
// millions of slots are noted in no memory.
type phasePage struct {
	words     [2 * slotsPerPage]uint32 // of TCP and UDP for each slot
	unsettled int
}

const slotsPerPage = 512

// NotePhases takes the conditions of services for what they should be, also where
// only a VIP tells of the service. Other slots are nobody's, and settled.
func NotePhases(have *Tables) *Phases {
	p := &Phases{make([]*phasePage, (len(have.Slots)+slotsPerPage-1)/slotsPerPage)}
	for _, entry := range have.Services {
		p.note(have, entry)
	}
	for _, entry := range have.VIPs {
		if _, recorded := have.Services[entry.Service]; !recorded {
			p.note(have, ServiceEntry{FirstSlot: entry.FirstSlot, SlotCount: entry.SlotCount})
		}
	}
	return p
}

func (p *Phases) note(have *Tables, entry ServiceEntry) {
	first, end := entry.within(have)
	for slot := first; slot < end; slot++ {
		for _, protocol := range []Protocol{TCP, UDP} {
			p.put(slot, protocol, have.Conditions.word(slot, protocol))
		}
	}
}

func (p *Phases) clone() *Phases {
	if p == nil {
		return nil
	}
	cloned := &Phases{slices.Clone(p.pages)}
	for i, page := range cloned.pages {
		if page != nil {
			copied := *page
			cloned.pages[i] = &copied
		}
	}
	return cloned
}

func (p *Phases) put(slot uint32, protocol Protocol, word uint32) {
	if p == nil {
		return
	}
	page := p.pages[slot/slotsPerPage]
	if page == nil {
		if word == 0 {
			return
		}
		page = new(phasePage)
		p.pages[slot/slotsPerPage] = page
	}
	noted := &page.words[wordOf(slot, protocol)]
	page.unsettled += isSet(word) - isSet(*noted)
	if *noted = word; page.unsettled == 0 {
		p.pages[slot/slotsPerPage] = nil
	}
}

func (p *Phases) at(slot uint32, protocol Protocol) uint32 {
	page := p.pages[slot/slotsPerPage]
	if page == nil {
		return 0
	}
	return page.words[wordOf(slot, protocol)]
}

// restless tells whether a slot of a service is noted as not settled.
func (p *Phases) restless(entry ServiceEntry, protocol Protocol) bool {
	if p == nil {
		return false
	}
	end := min(uint64(entry.FirstSlot)+uint64(entry.SlotCount), uint64(len(p.pages))*slotsPerPage)
	for slot := uint64(entry.FirstSlot); slot < end; {
		if p.pages[slot/slotsPerPage] == nil {
			slot += slotsPerPage - slot%slotsPerPage
			continue
		}
		if p.at(uint32(slot), protocol) != 0 {
			return true
		}
		slot++
	}
	return false
}

// IsEmpty tells whether all slots are noted as settled.
func (p *Phases) IsEmpty() bool {
	return !slices.ContainsFunc(p.pages, func(page *phasePage) bool { return page != nil })
}

func wordOf(slot uint32, protocol Protocol) uint32 {
	at := 2 * (slot % slotsPerPage)
	if protocol == UDP {
		at++
	}
	return at
}

func isSet(word uint32) int {
	if word == 0 {
		return 0
	}
	return 1
}

// Condition is what a slot goes through for a protocol, whatever somebody else
// wrote over it.
func (t *Tables) Condition(slot uint32, protocol Protocol) Condition {
	held := t.Conditions.At(slot, protocol)
	if t.Phases == nil {
		return held
	}
	return conditionOf(t.Phases.at(slot, protocol), held.Second)
}
