package dataplane_test

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func TestStraysAreWhatWasDeletedChangedAndAdded(t *testing.T) {
	held := map[string]int{"right": 1, "changed": 9, "added": 4}
	left := map[string]int{"right": 1, "changed": 2, "deleted": 3}
	got := Strays(held, left)
	if len(got) != 3 || got[0] != (Stray[string, int]{Key: "added", Was: Added}) {
		t.Fatalf("got %v, want what was added first", got)
	}
	for _, want := range []Stray[string, int]{{"changed", Changed, 2}, {"deleted", Deleted, 3}} {
		if !slices.Contains(got, want) {
			t.Errorf("got %v, without %v", got, want)
		}
	}
	if more := Strays(left, left); len(more) > 0 {
		t.Errorf("of equals, got %v", more)
	}
}

// inMotion is a service of which a backend was added, with its phases noted.
func inMotion(t *testing.T) (*Tables, State) {
	t.Helper()
	have := NewTables(Limits{Services: 3, VIPs: 3, Backends: 8}, 2000)
	have.Phases = NotePhases(have)
	other, web := service("other", 1, 9), service("web", 0, 0, 1)
	other.Slots, web.Slots = 251, 1009
	bring(t, have, State{Services: []Service{other, web}})
	web.Backends = append(web.Backends, backendNumber(2))
	want := State{Services: []Service{other, web}, Second: 100}
	bring(t, have, want)
	return have, want
}

// movingSlots are the slots that are in motion for TCP.
func movingSlots(have *Tables) (slots []uint32) {
	for slot := range uint32(len(have.Slots)) {
		if have.Conditions.At(slot, TCP).Phase == Moving {
			slots = append(slots, slot)
		}
	}
	return slots
}

func TestPhasesThatSomeoneOverwroteAreFoundWithWhatTheyWere(t *testing.T) {
	have, _ := inMotion(t)
	moving := movingSlots(have)
	all := uint32(len(have.Slots))
	if steps := Overwritten(have, 0, all, 0); len(moving) < 100 || len(steps) > 0 {
		t.Fatalf("%d slots are moving, and what was overwritten takes\n%s", len(moving), listed(steps))
	}
	first, second := have.Conditions.At(moving[0], TCP), have.Conditions.At(moving[1], TCP)
	have.Conditions.Put(moving[0], TCP, Condition{})
	have.Conditions.Put(moving[1], TCP, Condition{Phase: Moving, Fallback: second.Fallback + 1})
	have.Conditions.Put(moving[2], TCP, Condition{Moving, have.Conditions.At(moving[2], TCP).Fallback, 777})
	have.Conditions.Put(1999, UDP, Condition{Phase: Learning, Fallback: 1, Second: 5}) // nobody's slot
	have.Slots[1998] = 1
	first.Second, second.Second = 200, 200
	want := []Step{
		PutConditions{"web", []SlotCondition{{moving[0], TCP, first}, {moving[1], TCP, second}}},
		PutConditions{"no service", []SlotCondition{{1999, UDP, Condition{}}}},
		PutSlots{"no service", []SlotOwner{{1998, NoBackend}}},
	}
	found := Overwritten(have, 0, all, 200)
	if !reflect.DeepEqual(found, want) {
		t.Errorf("found\n%v, want\n%v: seconds are the program's to write", found, want)
	}
	if part := Overwritten(have, moving[1]+1, 1999, 200); !reflect.DeepEqual(part, want[2:]) {
		t.Errorf("in a part of the slots, found %v", part)
	}
	for _, step := range found {
		step.Replay(have)
	}
	if left := Overwritten(have, 0, all, 200); len(left) > 0 {
		t.Errorf("after they were mended, found %v", left)
	}
}

func TestAChangeBuildsOnThePhasesThatWereLeftNotOnThoseThatSomeoneWrote(t *testing.T) {
	have, want := inMotion(t)
	intact := have.Clone()
	have.Conditions.Put(movingSlots(have)[0], TCP, Condition{})
	want.Services = slices.Clone(want.Services)
	want.Services[1].Backends = want.Services[1].Backends[1:]
	for _, tables := range []*Tables{have, intact} {
		bring(t, tables, want)
	}
	for slot := range uint32(len(have.Slots)) {
		if got, want := have.Condition(slot, TCP), intact.Condition(slot, TCP); got.Phase != want.Phase || got.Fallback != want.Fallback {
			t.Errorf("slot %d is %v, want %v", slot, got, want)
		}
	}
}

func TestSettledSlotsTakeNoNote(t *testing.T) {
	have, _ := inMotion(t)
	for _, second := range []uint32{2000, 4000} {
		for _, step := range Settle(have, second) {
			step.Replay(have)
		}
	}
	if left := movingSlots(have); len(left) > 0 || !have.Phases.IsEmpty() {
		t.Errorf("%d slots are moving, and phases are noted: %t", len(left), !have.Phases.IsEmpty())
	}
}

func TestALostRecordComesBackUnderItsIDAndNothingMoves(t *testing.T) {
	for _, row := range []struct {
		promise string
		keep    bool
	}{{"of a service that is known", false}, {"of one that is kept as it is", true}} {
		t.Run(row.promise, func(t *testing.T) {
			intact, want := inMotion(t)
			have := intact.Clone()
			for id, entry := range have.Services {
				if entry.Name == "web" {
					delete(have.Services, id)
				}
			}
			want.Services = slices.Clone(want.Services)
			want.Services[1].Keep = row.keep
			bring(t, have, want)
			for id, entry := range intact.Services {
				got := have.Services[id]
				if row.keep && entry.Name == "web" {
					entry.Fingerprint = 0 // nobody knows what it was
				}
				if got != entry {
					t.Errorf("service %d is %v, was %v", id, got, entry)
				}
			}
			if !maps.Equal(have.VIPs, intact.VIPs) || !maps.Equal(have.Backends, intact.Backends) ||
				!slices.Equal(have.Slots, intact.Slots) || !slices.Equal(have.Conditions, intact.Conditions) {
				t.Error("something has moved")
			}
		})
	}
}

func TestAVIPThatSomeonePointedAtOthersSlotsLeavesNoRecord(t *testing.T) {
	have, want := inMotion(t)
	vip := want.Services[1].VIPs[0]
	entry := have.VIPs[vip]
	for id, service := range have.Services {
		if service.Name == "web" {
			delete(have.Services, id)
		} else {
			entry.FirstSlot, entry.SlotCount = service.FirstSlot+1, 100
		}
	}
	have.VIPs[vip] = entry
	bring(t, have, want)
	for _, s := range want.Services {
		checkService(t, have, s)
	}
}

func TestAMarkThatSomeoneTookAwayComesBackWhileSlotsNeedIt(t *testing.T) {
	have, want := inMotion(t)
	intact := have.Clone()
	for vip, entry := range have.VIPs {
		entry.Unsettled = false
		have.VIPs[vip] = entry
	}
	have.Phases = NotePhases(have) // by a daemon that starts now
	bring(t, have, want)
	if !maps.Equal(have.VIPs, intact.VIPs) {
		t.Errorf("the VIPs are %v, were %v", have.VIPs, intact.VIPs)
	}
}

func TestSlotsOfNoServiceAreSettledWhateverIsNoted(t *testing.T) {
	have, _ := inMotion(t)
	for id, entry := range have.Services {
		if entry.Name == "web" {
			delete(have.Services, id)
		}
	}
	for _, step := range Overwritten(have, 0, uint32(len(have.Slots)), 0) {
		step.Replay(have)
	}
	if left := movingSlots(have); len(left) > 0 || !have.Phases.IsEmpty() {
		t.Errorf("%d slots are in motion", len(left))
	}
}
