package dataplane

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// Astray compares the slots of services with what they are built from, one service
// after the other for as long as it may, and returns how many it looked at and how
// many slots of which are not as they should be. It leaves out services that are
// not held as they are wanted: those are Diff's, which takes a table for right that
// has the right fingerprint unless State.Doubted names it.
func Astray(have *Tables, services []Service, more func() bool) (checked int, wrong map[string]int) {
	held := takeInventory(have, false)
	for i := range services {
		if i > 0 && !more() {
			break
		}
		checked++
		if slots := held.astray(have, &services[i]); slots > 0 {
			if wrong == nil {
				wrong = make(map[string]int)
			}
			wrong[services[i].Name] = slots
		}
	}
	return checked, wrong
}

func (held *inventory) astray(have *Tables, s *Service) int {
	ids := held.idsOf[s.Name]
	if s.Keep || len(ids) != 1 {
		return 0
	}
	entry := have.Services[ids[0]]
	print, _ := fingerprint(s, nil)
	if entry.Fingerprint != print || entry.SlotCount != s.Slots {
		return 0
	}
	indexOf := make(map[ID]uint32)
	for _, index := range held.backends(s.Name) {
		indexOf[held.entry(index).ID] = index
	}
	indexes := make([]uint32, len(s.Backends))
	for i := range s.Backends {
		index, known := indexOf[s.Backends[i].ID]
		if !known {
			return 0
		}
		indexes[i] = index
	}
	first, end := entry.within(have)
	if end-first != s.Slots {
		return 0
	}
	return len(changed(have.Slots[first:end], first, build(s, indexes)))
}

// Overwritten returns the steps that give slots from first to before end the phases
// and fallbacks back that they were left with, and that take from somebody the slots
// that are no service's. What is to last since a second lasts from now on: the one
// that is there may be as foreign. Tables.Phases must be there.
func Overwritten(have *Tables, first, end, now uint32) []Step {
	var steps []Step
	for _, p := range have.parts(first, end) {
		steps = appendConditions(steps, p.name, have.otherPhases(p, now))
		if owners := have.owned(p.first, p.end); p.name == noName && len(owners) > 0 {
			steps = append(steps, PutSlots{p.name, owners})
		}
	}
	return steps
}

// part is slots of one service, or of none.
type part struct {
	name       string
	first, end uint32
}

const noName = "no service"

func (t *Tables) parts(first, end uint32) []part {
	var parts []part
	for _, entry := range t.Services {
		from, to := entry.within(t)
		if from, to = max(from, first), min(to, end); from < to {
			parts = append(parts, part{entry.Name, from, to})
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.first, b.first) })
	free := first
	for _, p := range parts {
		if free < p.first {
			parts = append(parts, part{noName, free, p.first})
		}
		free = max(free, p.end)
	}
	if free < end {
		parts = append(parts, part{noName, free, end})
	}
	return parts
}

// otherPhases are those that are not as noted; slots of no service are settled,
// whatever is noted of them.
func (t *Tables) otherPhases(p part, now uint32) []SlotCondition {
	var changes []SlotCondition
	for slot := p.first; slot < p.end; slot++ {
		for _, protocol := range []Protocol{TCP, UDP} {
			noted := t.Phases.at(slot, protocol)
			word := noted
			if p.name == noName {
				word = 0
			}
			if t.Conditions.word(slot, protocol) == word && noted == word {
				continue
			}
			condition := conditionOf(word, 0)
			if condition.Phase != Settled {
				condition.Second = now
			}
			changes = append(changes, SlotCondition{slot, protocol, condition})
		}
	}
	return changes
}

func (t *Tables) owned(first, end uint32) []SlotOwner {
	var owners []SlotOwner
	for slot := first; slot < end; slot++ {
		if atomic.LoadUint32(&t.Slots[slot]) != NoBackend {
			owners = append(owners, SlotOwner{slot, NoBackend})
		}
	}
	return owners
}
