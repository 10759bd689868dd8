package dataplane_test

import (
	"fmt"
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/maglev"
)

// checkPrefixes holds Diff's promise: stopped after any of its steps, every
// packet goes where it went or where it shall go, and another Diff completes
// what was begun, or goes back to what was wanted before.
func checkPrefixes(t *testing.T, old *Tables, want, before State) {
	t.Helper()
	steps, problems := Diff(old, want)
	checkHeld(t, old, replay(old, steps), want, problems)
	next := replay(old, steps)
	for n := 0; n <= len(steps); n++ {
		for _, now := range []*Tables{replay(old, steps[:n]), replay(old, halfway(steps, n))} {
			if wrong := astray(old, now, next); wrong != "" {
				t.Fatalf("after %d of these steps %s\n%s", n, wrong, listed(steps))
			}
			checkCompletes(t, now, want)
			checkCompletes(t, now, before)
		}
	}
}

// halfway is the steps before the nth and, if that is PutSlots, half of it: its
// slots are written one by one.
func halfway(steps []Step, n int) []Step {
	if n < len(steps) {
		if slots, cut := steps[n].(PutSlots); cut {
			slots.Owners = slots.Owners[:len(slots.Owners)/2]
			return append(slices.Clone(steps[:n]), slots)
		}
	}
	return steps[:n]
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
		if entry != old.VIPs[vip] && entry != next.VIPs[vip] {
			return fmt.Sprintf("%s leads to %v", vip, entry)
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			wrong := misdirected(now, entry, now.Slots[slot])
			if wrong == "" && !mayOwn(old, now, next, vip, slot) {
				wrong = fmt.Sprintf("belongs to %d instead of %d or %d", now.Slots[slot], old.Slots[slot], next.Slots[slot])
			}
			if wrong != "" {
				return fmt.Sprintf("slot %d of %s %s", slot, vip, wrong)
			}
		}
	}
	return ""
}

// misdirected says why packets of a VIP must not go to an owner.
func misdirected(now *Tables, vip VIPEntry, owner uint32) string {
	if owner == NoBackend {
		return ""
	}
	backend, known := now.Backends[owner]
	service, recorded := now.Services[vip.Service]
	switch {
	case !known:
		return fmt.Sprintf("belongs to %d, which is no backend", owner)
	case !recorded:
		return "belongs to no service"
	case now.Services[backend.Service].Name != service.Name:
		return fmt.Sprintf("belongs to %s, which is of service %d, not %s", backend.ID, backend.Service, service.Name)
	case !now.Egress[backend.Hop.Interface]:
		return fmt.Sprintf("belongs to %s behind interface %d, which cannot be sent to", backend.ID, backend.Hop.Interface)
	}
	return ""
}

// mayOwn tells whether the owner of a slot is the one before or the one after,
// and not the one after where the VIP has nothing to do with that, nor the one
// before where the VIP never led there.
func mayOwn(old, now, next *Tables, vip VIP, slot uint32) bool {
	entry := now.VIPs[vip]
	_, existed := old.Services[entry.Service]
	_, stays := next.Services[entry.Service]
	leaves := next.VIPs[vip] != entry
	owner := now.Slots[slot]
	switch {
	case !stays || leaves && !gains(old, next, entry.Service):
		return owner == old.Slots[slot]
	case !existed:
		return owner == next.Slots[slot]
	}
	return owner == old.Slots[slot] || owner == next.Slots[slot]
}

func gains(old, next *Tables, service uint32) bool {
	for vip, entry := range next.VIPs {
		if entry.Service == service && old.VIPs[vip] != entry {
			return true
		}
	}
	return false
}

// checkHeld compares what is held with the wish: in full for services that can
// be as wanted, as before for those that are kept or have a problem.
func checkHeld(t *testing.T, old, held *Tables, want State, problems []Problem) {
	t.Helper()
	trouble := make(map[string]bool)
	for _, p := range problems {
		trouble[p.Service] = true
	}
	kept := false
	backends, vips, egress := 0, make(map[VIP]bool), make(map[uint32]bool)
	for _, s := range want.Services {
		if trouble[s.Name] || s.Keep {
			checkKept(t, old, held, s.Name)
			kept = true
			continue
		}
		checkService(t, held, s)
		backends += len(s.Backends)
		for _, vip := range s.VIPs {
			vips[vip] = true
		}
		for _, b := range s.Backends {
			egress[b.Hop.Interface] = true
		}
	}
	if kept {
		return
	}
	if len(held.Services) != len(want.Services) || len(held.Backends) != backends || len(held.VIPs) != len(vips) || len(held.Egress) != len(egress) {
		t.Fatalf("%d services, %d backends, %d VIPs and %d interfaces are held, %d, %d, %d and %d are wanted",
			len(held.Services), len(held.Backends), len(held.VIPs), len(held.Egress), len(want.Services), backends, len(vips), len(egress))
	}
	unowned := slices.Clone(held.Slots)
	for _, entry := range held.Services {
		clear(unowned[entry.FirstSlot:][:entry.SlotCount])
	}
	for slot, owner := range unowned {
		if owner != NoBackend {
			t.Fatalf("slot %d is of no service and names backend %d", slot, owner)
		}
	}
}

func checkService(t *testing.T, held *Tables, s Service) {
	t.Helper()
	id := idOf(t, held, s.Name)
	entry := held.Services[id]
	if entry.SlotCount != s.Slots || entry.Fingerprint == 0 {
		t.Fatalf("%s is held as %+v", s.Name, entry)
	}
	for _, vip := range s.VIPs {
		if got, want := held.VIPs[vip], (VIPEntry{id, entry.FirstSlot, entry.SlotCount}); got != want {
			t.Fatalf("%s leads to %+v instead of %+v", vip, got, want)
		}
	}
	found := make(map[ID]BackendEntry)
	for _, backend := range held.Backends {
		if backend.Service == id {
			found[backend.ID] = backend
		}
	}
	var members []maglev.Member
	for _, b := range s.Backends {
		if want := (BackendEntry{id, b.ID, b.Forward, b.Hop}); found[b.ID] != want {
			t.Fatalf("backend %s of %s is held as %+v instead of %+v", b.ID, s.Name, found[b.ID], want)
		}
		members = append(members, maglev.Member{Key: b.ID.String(), Weight: int(b.Weight)})
	}
	if len(found) != len(s.Backends) {
		t.Fatalf("%s has %d backends instead of %d", s.Name, len(found), len(s.Backends))
	}
	owners := maglev.Build(members, int(s.Slots))
	for i, owner := range held.Slots[entry.FirstSlot:][:entry.SlotCount] {
		var want ID
		if owners != nil {
			want = s.Backends[owners[i]].ID
		}
		if got := held.Backends[owner].ID; got != want {
			t.Fatalf("slot %d of %s belongs to %s instead of %s", i, s.Name, got, want)
		}
	}
}

func idOf(t *testing.T, held *Tables, name string) uint32 {
	t.Helper()
	var ids []uint32
	for id, entry := range held.Services {
		if entry.Name == name {
			ids = append(ids, id)
		}
	}
	if len(ids) != 1 {
		t.Fatalf("%s has the ids %v", name, ids)
	}
	return ids[0]
}

// checkKept wants a service with a problem to forward as it did.
func checkKept(t *testing.T, old, held *Tables, name string) {
	t.Helper()
	for id, entry := range old.Services {
		if entry.Name != name {
			continue
		}
		if held.Services[id] != entry {
			t.Fatalf("%s has a problem and was held as %+v, now as %+v", name, entry, held.Services[id])
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			owner := held.Slots[slot]
			if owner != old.Slots[slot] || held.Backends[owner] != old.Backends[owner] {
				t.Fatalf("%s has a problem, and its slot %d went from %d, %+v, to %d, %+v",
					name, slot, old.Slots[slot], old.Backends[old.Slots[slot]], owner, held.Backends[owner])
			}
		}
	}
}
