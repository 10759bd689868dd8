package dataplane_test

import (
	"fmt"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

var protocols = []Protocol{TCP, UDP}

// insane says which condition breaks a rule that holds after any step.
func insane(now *Tables) string {
	for slot := range now.Slots {
		for _, protocol := range protocols {
			c := now.Conditions.At(uint32(slot), protocol)
			foreign := protocol == TCP && c.Phase == Learning || protocol == UDP && c.Phase == Moving
			if foreign || c.Fallback != NoBackend && c.Phase != Moving && c.Phase != Learning {
				return fmt.Sprintf("slot %d is %+v for %s", slot, c, protocol)
			}
		}
	}
	for vip, entry := range now.VIPs {
		if !vip.IsWide() && !now.Addresses[vip.Addr] {
			return fmt.Sprintf("%s is a VIP, and its address is the host's", vip)
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			if c := now.Conditions.At(slot, vip.Protocol); c.Phase != Settled && !entry.Unsettled {
				return fmt.Sprintf("slot %d of %s is %s, and nobody looks", slot, vip, c.Phase)
			}
		}
	}
	return ""
}

// forgetful says which slot has forgotten flows of a living backend: those that
// nobody remembers have to stay where they are, and those that are remembered
// have to be looked up, as long as the VIP leads to the same slots.
func forgetful(old, now, next *Tables, want State) string {
	for vip, entry := range now.VIPs {
		leads := table(entry)
		if table(old.VIPs[vip]) != leads || table(next.VIPs[vip]) != leads || remembersNothing(now.Services[entry.Service].Name, want) {
			continue
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			was, is := old.Conditions.At(slot, vip.Protocol), now.Conditions.At(slot, vip.Protocol)
			if was.Phase != Settled && is.Phase == Settled {
				return fmt.Sprintf("slot %d of %s is settled before its time", slot, vip)
			}
			home := forgotten.backend(old, slot, vip.Protocol)
			entry, stays := next.Backends[home]
			if backend := forgotten.backend(now, slot, vip.Protocol); stays && !entry.Dead && backend != home {
				return fmt.Sprintf("forgotten flows of slot %d of %s went from %d, which lives, to %d", slot, vip, home, backend)
			}
		}
	}
	return ""
}

func remembersNothing(name string, want State) bool {
	for _, s := range want.Services {
		if s.Name == name {
			return s.Tracking == TrackNever || s.NAT
		}
	}
	return true
}

// reused says which index was given to another backend, or freed, though only
// Quarantine may do that.
func reused(old, now *Tables) string {
	for index, before := range old.Backends {
		after, known := now.Backends[index]
		revived := before.Dead && !after.Dead
		if !known || after.ID != before.ID || revived && (after.Service != before.Service || after.Forward != before.Forward) {
			return fmt.Sprintf("backend %d, %+v, became %+v", index, before, after)
		}
	}
	return ""
}

// checkCompleteLanes wants what holds once all steps are taken.
func checkCompleteLanes(t *testing.T, old, next *Tables, want State, problems []Problem) {
	t.Helper()
	if len(problems) > 0 {
		return
	}
	free := make([]bool, len(next.Slots))
	for slot := range free {
		free[slot] = true
	}
	for id, entry := range next.Services {
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			free[slot] = false
			for _, protocol := range protocols {
				c := next.Conditions.At(slot, protocol)
				if c.Fallback != NoBackend && c.Fallback == next.Slots[slot] && c != old.Conditions.At(slot, protocol) {
					t.Fatalf("slot %d of service %d has its owner for fallback: %+v", slot, id, c)
				}
			}
		}
	}
	for slot, isFree := range free {
		for _, protocol := range protocols {
			if c := next.Conditions.At(uint32(slot), protocol); isFree && c != (Condition{}) {
				t.Fatalf("slot %d belongs to no service and is %+v", slot, c)
			}
		}
	}
	for _, s := range want.Services {
		if s.Keep {
			continue
		}
		checkServiceLanes(t, next, s)
		if id := idOf(t, next, s.Name); old.Services[id].Name == s.Name {
			checkRevived(t, old, next, id, s)
		}
	}
}

func checkServiceLanes(t *testing.T, next *Tables, s Service) {
	t.Helper()
	for _, vip := range s.VIPs {
		entry := next.VIPs[vip]
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			if c := next.Conditions.At(slot, vip.Protocol); (s.Tracking == TrackNever || s.NAT) && c != (Condition{}) {
				t.Fatalf("slot %d of %s is never tracked and %+v", slot, s.Name, c)
			}
		}
	}
}

// checkRevived wants a backend that came back to have its index again if, and
// only if, no flow names it.
func checkRevived(t *testing.T, old, next *Tables, id uint32, s Service) {
	t.Helper()
	lived, graves := make(map[ID]bool), make(map[BackendEntry]uint32)
	for index, entry := range old.Backends {
		if !entry.Dead {
			lived[entry.ID] = true // as of any service, to be on the safe side
			continue
		}
		if first, known := graves[entry]; !known || index < first {
			graves[entry] = index
		}
	}
	for _, b := range s.Backends {
		grave, died := graves[BackendEntry{Service: id, ID: b.ID, Forward: b.Forward, Dead: true}]
		if !died || lived[b.ID] {
			continue
		}
		if back := !next.Backends[grave].Dead; back == isNamed(old, grave) {
			t.Fatalf("backend %s is back; back at its index %d: %t", b.ID, grave, back)
		}
	}
}

func isNamed(tables *Tables, index uint32) bool {
	for _, word := range tables.Flows {
		if word != 0 && Flow(word).Backend() == index {
			return true
		}
	}
	return false
}
