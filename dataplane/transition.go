package dataplane

// lane is the slots of a service as packets of one protocol see them.
type lane struct {
	service  uint32
	protocol Protocol
}

// lanesOf returns the lanes that VIPs lead to, and for each whether the program
// looks at its conditions.
func lanesOf(vips map[VIP]VIPEntry) map[lane]bool {
	lanes := make(map[lane]bool, len(vips))
	for vip, entry := range vips {
		at := lane{entry.Service, vip.Protocol}
		lanes[at] = lanes[at] || entry.Unsettled
	}
	return lanes
}

// transition is what a plan changes in the conditions of one lane.
type transition struct {
	lane
	unsettled bool            // the program has to look at conditions from now on
	entering  []SlotCondition // into Moving and Learning: written before the owners
	leaving   []SlotCondition // into Settling and Settled: written after the owners
}

// changePhases decides which slots get other conditions, and from that which
// VIPs are marked as unsettled. Only Settle takes a mark away.
func (d *difference) changePhases() {
	before, after := lanesOf(d.have.VIPs), lanesOf(d.vips)
	for _, p := range d.plans {
		for _, protocol := range []Protocol{TCP, UDP} {
			at := lane{p.id, protocol}
			unsettled, led := before[at]
			_, leads := after[at]
			if p.isNew || !led && !leads {
				continue // free slots are settled; and here nobody looks
			}
			// Somebody may have taken the mark away.
			unsettled = unsettled || led && d.have.Phases.restless(p.entry, protocol)
			t := transition{lane: at, unsettled: unsettled}
			switch {
			case !leads || p.want.tracking() == TrackNever:
				if unsettled || !led {
					t.leaving = unsettledSlots(d.have, p.entry, protocol)
				}
			case !led || unsettled && p.moves():
				t.visitAll(d, p, led)
			default: // all that keep their owners keep their conditions
				for _, change := range p.slots {
					t.visit(d, p, d.have.Condition(change.Slot, protocol), change)
				}
			}
			d.unsettled[at] = t.unsettled
			p.transitions = append(p.transitions, t)
		}
	}
	for vip, entry := range d.vips {
		if !d.kept[entry.Service] {
			entry.Unsettled = d.unsettled[lane{entry.Service, vip.Protocol}]
			d.vips[vip] = entry
		}
	}
}

// moves tells whether a slot may get another owner or lose its fallback.
func (p *plan) moves() bool { return len(p.slots)+len(p.puts)+len(p.gone) > 0 }

// visitAll asks the policy about every slot: a backend that dies may be the
// fallback of any. To a lane where no VIP has led, no slot owes anything; but if
// someone deleted its VIPs and they come back, some slots are on their way.
func (t *transition) visitAll(d *difference, p *plan, led bool) {
	changing := p.slots
	for slot := p.entry.FirstSlot; slot < p.entry.FirstSlot+p.entry.SlotCount; slot++ {
		next, changes := SlotOwner{slot, d.have.Slots[slot]}, len(changing) > 0 && changing[0].Slot == slot
		if changes {
			next, changing = changing[0], changing[1:]
		}
		if held := d.have.Condition(slot, t.protocol); held.Phase != Settled || led && changes {
			t.visit(d, p, held, next)
		}
	}
}

// visit asks the policy of slots for the next condition of one.
func (t *transition) visit(d *difference, p *plan, held Condition, next SlotOwner) {
	condition := held.Next(t.protocol, d.have.Slots[next.Slot], next.Owner, Moment{Second: d.second, Alive: p.alive})
	if condition.Phase != Settled {
		t.unsettled = true
	}
	change := SlotCondition{next.Slot, t.protocol, condition}
	switch {
	case condition == held:
	case condition.hasFallback():
		t.entering = append(t.entering, change)
	default:
		if held.Phase == Moving && d.have.Slots[next.Slot] != next.Owner {
			// Packets to the owner so far were not noted. Cut short once it is
			// another, the slot must not settle by an old note.
			held.Second = d.second
			t.entering = append(t.entering, SlotCondition{next.Slot, t.protocol, held})
		}
		t.leaving = append(t.leaving, change)
	}
}

// unsettledSlots returns the slots of a service that are not settled, settled.
func unsettledSlots(have *Tables, entry ServiceEntry, protocol Protocol) []SlotCondition {
	var changes []SlotCondition
	first, end := entry.within(have)
	for slot := first; slot < end; slot++ {
		if have.Condition(slot, protocol) != (Condition{}) {
			changes = append(changes, SlotCondition{slot, protocol, Condition{}})
		}
	}
	return changes
}

// within returns the first slot of a service and the one after the last, as far
// as they exist.
func (e ServiceEntry) within(have *Tables) (first, end uint32) {
	last := min(uint64(e.FirstSlot)+uint64(e.SlotCount), uint64(len(have.Slots)))
	return min(e.FirstSlot, uint32(last)), uint32(last)
}

// appendMarks lets the program look at the conditions of lanes whose slots are
// about to leave Settled, for VIPs that are about to leave the lane, too.
func (d *difference) appendMarks(steps []Step) []Step {
	for vip, entry := range d.have.VIPs {
		if !entry.Unsettled && d.unsettled[lane{entry.Service, vip.Protocol}] {
			entry.Unsettled = true
			d.marked[vip] = entry
		}
	}
	for _, vip := range sortedVIPs(d.marked) {
		steps = append(steps, PutVIP{vip, d.marked[vip]})
	}
	return steps
}
