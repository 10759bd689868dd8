package dataplane

// Astray compares the slots of services with what they are built from, one service
// after the other for as long as it may, and returns how many it looked at and how
// many slots of which are not as they should be. It leaves out services that are
// not held as they are wanted: those are Diff's, which takes a table for right that
// has the right fingerprint unless State.Doubted names it.
func Astray(have *Tables, services []Service, more func() bool) (checked int, wrong map[string]int) {
	held := takeInventory(have)
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
		indexOf[held.entryOf[index].ID] = index
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
