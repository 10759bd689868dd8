package dataplane

// phases is what a plan changes in the conditions of its slots.
type phases struct {
	unsettled map[Protocol]bool // whether the program has to look at conditions, after the plan
	entering  []SlotCondition   // into Moving and Learning: written before the owners
	leaving   []SlotCondition   // into Settling and Settled: written after the owners
}

var protocols = []Protocol{TCP, UDP}

// motion is what the VIPs of a service say, by protocol.
type motion struct{ led, unsettled map[Protocol]bool }

// motionOf goes through the held VIPs once, for all services.
func motionOf(have *Tables) map[uint32]motion {
	motions := make(map[uint32]motion, len(have.Services))
	for vip, entry := range have.VIPs {
		m, known := motions[entry.Service]
		if !known {
			m = motion{led: make(map[Protocol]bool), unsettled: make(map[Protocol]bool)}
			motions[entry.Service] = m
		}
		m.led[vip.Protocol] = true
		if entry.Unsettled {
			m.unsettled[vip.Protocol] = true
		}
	}
	return motions
}

// changePhases asks the policy of slots for the next condition of every slot
// that may have one: those whose owner changes, and all those not settled if a
// backend dies, since it may be somebody's fallback.
func (d *difference) changePhases(p *plan, indexes []uint32) {
	p.unsettled = make(map[Protocol]bool)
	if p.isNew {
		return // free slots are settled
	}
	alive := make(map[uint32]bool, len(indexes))
	for _, index := range indexes {
		alive[index] = true
	}
	now := Moment{Second: d.second, Alive: func(index uint32) bool { return alive[index] }}
	for _, protocol := range protocols {
		switch {
		case !p.leads(protocol):
		case p.want.Tracking == TrackNever, !d.motions[p.id].led[protocol]:
			// Nobody minds conditions that no VIP led to: they may be old.
			d.settleAll(p, protocol)
		case d.motions[p.id].unsettled[protocol]:
			p.unsettled[protocol] = true
			if len(p.slots) > 0 || len(p.gone) > 0 {
				d.transitAll(p, protocol, now)
			}
		default:
			for _, slot := range p.slots {
				d.transit(p, protocol, slot, now)
			}
		}
	}
}

func (p *plan) leads(protocol Protocol) bool {
	for _, vip := range p.want.VIPs {
		if vip.Protocol == protocol {
			return true
		}
	}
	return false
}

// transitAll looks at every slot; those of p.slots, in order, change owners.
func (d *difference) transitAll(p *plan, protocol Protocol, now Moment) {
	changing := p.slots
	for slot := p.entry.FirstSlot; slot < p.entry.FirstSlot+p.entry.SlotCount; slot++ {
		next := SlotOwner{Slot: slot, Owner: d.have.Slots[slot]}
		if len(changing) > 0 && changing[0].Slot == slot {
			next, changing = changing[0], changing[1:]
		}
		d.transit(p, protocol, next, now)
	}
}

func (d *difference) transit(p *plan, protocol Protocol, next SlotOwner, now Moment) {
	held := d.have.Conditions.At(next.Slot, protocol)
	condition := held.Next(protocol, d.have.Slots[next.Slot], next.Owner, now)
	if condition == held {
		return
	}
	p.unsettled[protocol] = true
	change := SlotCondition{next.Slot, protocol, condition}
	if condition.hasFallback() {
		p.entering = append(p.entering, change)
	} else {
		p.leaving = append(p.leaving, change)
	}
}

func (d *difference) settleAll(p *plan, protocol Protocol) {
	p.leaving = append(p.leaving, d.unsettledSlots(p.entry, protocol)...)
}

// unsettledSlots returns the slots of a service that are not settled, settled.
func (d *difference) unsettledSlots(entry ServiceEntry, protocol Protocol) []SlotCondition {
	var changes []SlotCondition
	end := min(uint64(entry.FirstSlot)+uint64(entry.SlotCount), uint64(len(d.have.Slots)))
	for slot := uint64(entry.FirstSlot); slot < end; slot++ {
		if d.have.Conditions.At(uint32(slot), protocol) != (Condition{}) {
			changes = append(changes, SlotCondition{uint32(slot), protocol, Condition{}})
		}
	}
	return changes
}

// appendMarks lets the program look at the conditions of services whose slots
// are about to leave Settled.
func (d *difference) appendMarks(steps []Step) []Step {
	for _, vip := range sortedVIPs(d.have.VIPs) {
		held, final := d.have.VIPs[vip], d.vips[vip]
		if held.Unsettled || !final.Unsettled || held.Service != final.Service {
			continue
		}
		held.Unsettled = true
		steps = append(steps, PutVIP{vip, held})
		d.marked[vip] = held
	}
	return steps
}
