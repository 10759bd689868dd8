package dataplane_test

import (
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// world is tables in which packets come and time goes on.
type world struct {
	draw       chance
	have       *Tables
	second     uint32
	quarantine Quarantine
}

// newWorld begins at 2^32 seconds less a few, or at a few.
func newWorld(draw chance) *world {
	limits, slots := drawLimits(draw)
	w := &world{draw: draw, have: NewTables(limits, slots), second: uint32(draw(100)) - 50}
	w.have.Flows = make(Flows, 2*FlowsPerBucket)
	return w
}

// live lets packets come and time go on, and does what has to be done then.
func (w *world) live(t *testing.T) {
	t.Helper()
	w.packets()
	w.second += uint32(w.draw(30))
	if w.draw(2) == 0 {
		w.settle(t)
	}
	if w.draw(3) == 0 {
		w.sweep()
	}
}

// packets has the program note seconds of slots and remember flows.
func (w *world) packets() {
	for slot := range w.have.Slots {
		for _, protocol := range protocols {
			c := w.have.Conditions.At(uint32(slot), protocol)
			if (c.Phase == Moving || c.Phase == Settling) && w.draw(3) == 0 {
				c.Second = w.second
				w.have.Conditions.Put(uint32(slot), protocol, c)
			}
		}
	}
	for index := uint32(1); index < min(w.have.Limits.Backends, 10); index++ {
		if entry, known := w.have.Backends[index]; known && !entry.Dead && w.draw(4) == 0 {
			w.have.Flows[w.draw(len(w.have.Flows))] = uint64(MakeFlow(uint64(w.draw(100)), index, false, w.second+20))
		}
	}
}

// settle wants Settle to leave all sane, stopped after any of its steps.
func (w *world) settle(t *testing.T) {
	t.Helper()
	old := w.have
	steps := Settle(old, w.second)
	w.have = replay(old, steps)
	for n := 0; n <= len(steps); n++ {
		for _, now := range interrupted(old, steps, n) {
			for _, wrong := range []string{insane(now), astray(old, now, w.have)} {
				if wrong != "" {
					t.Fatalf("after %d of these steps of time %s\n%s", n, wrong, listed(steps))
				}
			}
		}
	}
	if more := Settle(w.have, w.second); len(more) > 0 {
		t.Fatalf("at the same second there is still something to settle:\n%s", listed(more))
	}
}

func (w *world) sweep() {
	census := w.have.Flows.Sweep(w.second, func(index uint32) bool {
		entry, known := w.have.Backends[index]
		return known && !entry.Dead
	})
	for _, step := range w.quarantine.Release(w.have, census, w.second) {
		step.Replay(w.have)
	}
}

// checkSettles wants an end to all phases, marks and remembered flows, and to
// the memory of dead backends, once no packets come any more.
func (w *world) checkSettles(t *testing.T) {
	t.Helper()
	for range 2 { // learning, settling
		w.second += 15*60 + 1
		w.settle(t)
	}
	for range 3 { // one to forget the flows, two to believe it
		w.second += FragmentSeconds
		w.sweep()
	}
	for vip, entry := range w.have.VIPs {
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			if c := w.have.Conditions.At(slot, vip.Protocol); c.Phase != Settled || entry.Unsettled {
				t.Fatalf("slot %d of %s, %+v, is still %+v", slot, vip, entry, c)
			}
		}
	}
	for place, word := range w.have.Flows {
		if word != 0 {
			t.Fatalf("flow %d is still remembered", place)
		}
	}
	for index, entry := range w.have.Backends {
		if entry.Dead {
			t.Fatalf("index %d is still that of %s, who is dead", index, entry.ID)
		}
	}
}
