package dataplane

// Settle returns the steps that time alone brings: slots go on to their next
// phase, and where all slots are settled the mark on the VIPs goes, last, so that
// the program looks until there is nothing to see. The second is that of the
// monotonic clock which the program reads.
func Settle(have *Tables, second uint32) []Step {
	var order []lane
	marked, slowest := make(map[lane][]VIP), make(map[lane]VIPEntry)
	for _, vip := range sortedVIPs(have.VIPs) {
		entry := have.VIPs[vip]
		if !entry.Unsettled {
			continue
		}
		at := lane{entry.Service, vip.Protocol}
		if marked[at] == nil {
			order = append(order, at)
		}
		marked[at] = append(marked[at], vip)
		// A change of the timeout that was cut short has reached some VIPs only.
		if entry.IdleSeconds >= slowest[at].IdleSeconds {
			slowest[at] = entry
		}
	}
	var steps []Step
	for _, at := range order {
		changes, settled := tick(have, at, slowest[at], second)
		steps = appendConditions(steps, have.Services[at.service].Name, changes)
		if !settled {
			continue
		}
		for _, vip := range marked[at] {
			entry := have.VIPs[vip]
			entry.Unsettled = false
			steps = append(steps, PutVIP{vip, entry})
		}
	}
	return steps
}

// tick looks at each slot once, and tells whether all of them will be settled.
func tick(have *Tables, at lane, entry VIPEntry, second uint32) (changes []SlotCondition, settled bool) {
	now := Moment{Second: second, IdleSeconds: entry.IdleSeconds}
	settled = true
	first, end := ServiceEntry{FirstSlot: entry.FirstSlot, SlotCount: entry.SlotCount}.within(have)
	for slot := first; slot < end; slot++ {
		held := have.Condition(slot, at.protocol)
		next := held.Tick(now)
		if next != held {
			changes = append(changes, SlotCondition{slot, at.protocol, next})
		}
		settled = settled && next.Phase == Settled
	}
	return changes, settled
}
