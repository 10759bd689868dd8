package wild

import (
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// change is one that a control plane could make, and some that it would not.
func (w *World) change(d *Dice, second uint32) []dataplane.Step {
	switch d.Roll(7) {
	case 0, 1: // a backend dies, or comes back
		index := 1 + uint32(d.Roll(backends-1))
		if w.latest != dataplane.NoBackend && d.oneIn(2) {
			index = w.latest
		}
		if w.dead[index] = !w.dead[index]; !w.dead[index] && index >= firstNAT && d.oneIn(4) {
			w.backends[index].Port++ // another instance
		}
		return []dataplane.Step{w.putBackend(index)}
	case 2: // slots of a service change their owner
		entry, owner := pick(d, w.table), uint32(d.Roll(firstNAT))
		if entry.NAT {
			owner = firstNAT + uint32(d.Roll(backends-firstNAT))
		}
		change := dataplane.PutSlots{Name: "wild"}
		for slot := range entry.SlotCount {
			if slot%3 == 0 {
				change.Owners = append(change.Owners, dataplane.SlotOwner{Slot: entry.FirstSlot + slot, Owner: owner})
			}
		}
		return []dataplane.Step{change}
	case 3: // slots of a service change their phase
		entry, protocol := pick(d, w.table), pick(d, protocols)
		condition := dataplane.Condition{Phase: pick(d, phases), Fallback: uint32(d.Roll(backends)), Second: second}
		change := dataplane.PutConditions{Name: "wild"}
		for slot := range entry.SlotCount {
			if slot%2 == 0 {
				change.Changes = append(change.Changes, dataplane.SlotCondition{Slot: entry.FirstSlot + slot, Protocol: protocol, Condition: condition})
			}
		}
		return []dataplane.Step{change}
	case 4: // a VIP goes to another service, or heeds phases, or no longer
		put := pick(d, w.vips)
		put.Entry = pick(d, w.vips).Entry
		put.Entry.Unsettled = d.oneIn(2)
		if d.oneIn(8) { // which somebody else must have written
			put.Entry.FirstSlot = 2 * Slots
		}
		if put.VIP.Protocol != dataplane.UDP {
			put.Entry.QUIC = dataplane.QUIC{}
		}
		return []dataplane.Step{put}
	case 5:
		if w.NAT {
			return w.changeNAT(d)
		}
	}
	if len(w.vips) < 2 {
		return nil
	}
	return w.deleteVIP(d.Roll(len(w.vips)))
}

// deleteVIP takes what nobody else needs with it.
func (w *World) deleteVIP(i int) []dataplane.Step {
	gone := w.vips[i].VIP
	w.vips = slices.Delete(w.vips, i, i+1)
	steps := []dataplane.Step{dataplane.DeleteVIP{VIP: gone}}
	switch {
	case slices.ContainsFunc(w.vips, func(put dataplane.PutVIP) bool {
		return put.VIP.IsWide() == gone.IsWide() && put.VIP.Prefix() == gone.Prefix() || !gone.IsWide() && !put.VIP.IsWide() && put.VIP.Addr == gone.Addr
	}):
	case gone.IsWide():
		steps = append(steps, dataplane.DeletePrefix{Prefix: gone.Prefix()})
	default:
		steps = append(steps, dataplane.DeleteAddress{Addr: gone.Addr})
	}
	return steps
}

var phases = []dataplane.Phase{dataplane.Settled, dataplane.Settling, dataplane.Moving, dataplane.Learning}
