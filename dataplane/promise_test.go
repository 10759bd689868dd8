package dataplane_test

import (
	"fmt"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// checkPrefixes holds Diff's promise: stopped after any of its steps, every
// packet goes where it went or where it shall go, no flow has been forgotten that
// might go on, and another Diff completes what was begun, or goes back to what
// was wanted before.
func checkPrefixes(t *testing.T, old *Tables, want, before State) {
	t.Helper()
	steps, problems := Diff(old, want)
	next := replay(old, steps)
	checkHeld(t, old, next, want, problems)
	checkCompleteLanes(t, old, next, want, problems)
	for n := 0; n <= len(steps); n++ {
		for _, now := range interrupted(old, steps, n) {
			for _, wrong := range []string{astray(old, now, next), insane(now), forgetful(old, now, next, want), reused(old, now),
				between(old, now, next), misnamed(now), mixed(now)} {
				if wrong != "" {
					t.Fatalf("after %d of these steps %s\n%s", n, wrong, listed(steps))
				}
			}
			checkCompletes(t, now, want)
			checkCompletes(t, now, before)
		}
	}
}

// interrupted returns what is held if the steps are cut short after n of them, or
// in the middle of the next, if that goes slot by slot.
func interrupted(old *Tables, steps []Step, n int) []*Tables {
	after := replay(old, steps[:n])
	if n == len(steps) {
		return []*Tables{after}
	}
	switch next := steps[n].(type) {
	case PutSlots:
		next.Owners = next.Owners[:len(next.Owners)/2]
		return []*Tables{after, replay(after, []Step{next})}
	case PutConditions:
		next.Changes = next.Changes[:len(next.Changes)/2]
		return []*Tables{after, replay(after, []Step{next})}
	}
	return []*Tables{after}
}

// checkCompletes wants one Diff to do all that is to be done.
func checkCompletes(t *testing.T, now *Tables, want State) {
	t.Helper()
	steps, problems := Diff(now, want)
	completed := replay(now, steps)
	checkHeld(t, now, completed, want, problems)
	if len(problems) > 0 {
		return // what is freed may leave room for more with the next
	}
	if more, _ := Diff(completed, want); len(more) > 0 {
		t.Fatalf("after these steps there is still something to do:\n%s:\n%s", listed(steps), listed(more))
	}
}

func replay(have *Tables, steps []Step) *Tables {
	tables := have.Clone()
	for _, step := range steps {
		step.Replay(tables)
	}
	return tables
}

func listed(steps []Step) string {
	list := ""
	for i, step := range steps {
		list += fmt.Sprintf("%3d %s\n", i+1, step)
	}
	return list
}

// astray says which packet goes neither where it went nor where it shall go.
func astray(old, now, next *Tables) string {
	for vip := range old.VIPs {
		_, stays := next.VIPs[vip]
		if _, leads := now.VIPs[vip]; stays && !leads {
			return fmt.Sprintf("%s leads nowhere", vip)
		}
	}
	for vip, entry := range now.VIPs {
		marked := old.VIPs[vip]
		marked.Unsettled = true
		if entry != old.VIPs[vip] && entry != next.VIPs[vip] && entry != marked {
			return fmt.Sprintf("%s leads to %v", vip, entry)
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			for _, kind := range []flowKind{fresh, forgotten} {
				backend := kind.backend(now, slot, vip.Protocol)
				wrong := misdirected(now, entry, backend)
				if wrong == "" && !mayGo(kind, old, now, next, vip, slot) {
					wrong = fmt.Sprintf("belong to %d instead of %d or %d", backend,
						kind.backend(old, slot, vip.Protocol), kind.backend(next, slot, vip.Protocol))
				}
				if wrong != "" {
					return fmt.Sprintf("%s flows of slot %d of %s %s", kind, slot, vip, wrong)
				}
			}
		}
	}
	return ""
}

// flowKind is a flow that the flow table knows nothing of.
type flowKind string

const (
	fresh     flowKind = "fresh" // its first packet, while there is room to remember it
	forgotten flowKind = "forgotten"
)

// backend is where the table of phases sends such a flow.
func (k flowKind) backend(now *Tables, slot uint32, protocol Protocol) uint32 {
	c := now.Conditions.At(slot, protocol)
	if c.Phase == Learning || c.Phase == Moving && k == forgotten {
		return c.Fallback
	}
	return now.Slots[slot]
}

// misdirected says why packets of a VIP must not go to a backend.
func misdirected(now *Tables, vip VIPEntry, index uint32) string {
	if index == NoBackend {
		return ""
	}
	backend, known := now.Backends[index]
	service, recorded := now.Services[vip.Service]
	switch {
	case !known:
		return fmt.Sprintf("belong to %d, which is no backend", index)
	case backend.Dead:
		return fmt.Sprintf("belong to %s, which is dead", backend.ID)
	case !recorded:
		return "belong to no service"
	case now.Services[backend.Service].Name != service.Name:
		return fmt.Sprintf("belong to %s, which is of service %d, not %s", backend.ID, backend.Service, service.Name)
	case !now.Egress[backend.Hop.Interface]:
		return fmt.Sprintf("belong to %s behind interface %d, which cannot be sent to", backend.ID, backend.Hop.Interface)
	}
	return ""
}

// mayGo tells whether flows go to the backend from before or to the one from
// after, and not to that after where the VIP has nothing to do with it, nor to
// that before where the VIP never led there.
func mayGo(kind flowKind, old, now, next *Tables, vip VIP, slot uint32) bool {
	entry := now.VIPs[vip]
	_, existed := old.Services[entry.Service]
	_, stays := next.Services[entry.Service]
	leaves := table(next.VIPs[vip]) != table(entry)
	before, after := kind.backend(old, slot, vip.Protocol), kind.backend(next, slot, vip.Protocol)
	backend := kind.backend(now, slot, vip.Protocol)
	switch {
	case !stays || leaves && !gains(old, next, entry.Service):
		return backend == before
	case !existed:
		return backend == after
	}
	return backend == before || backend == after
}

// table is what an entry says of where the VIP leads.
func table(entry VIPEntry) VIPEntry {
	return VIPEntry{Service: entry.Service, FirstSlot: entry.FirstSlot, SlotCount: entry.SlotCount}
}

func gains(old, next *Tables, service uint32) bool {
	for vip, entry := range next.VIPs {
		if entry.Service == service && table(old.VIPs[vip]) != table(entry) {
			return true
		}
	}
	return false
}
