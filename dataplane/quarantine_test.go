package dataplane_test

import (
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// buried is web without its backend 0, whose index it returns.
func buried(t *testing.T) (have *Tables, index uint32) {
	t.Helper()
	have = NewTables(roomy, 100)
	have.Flows = make(Flows, FlowsPerBucket)
	bring(t, have, State{Services: []Service{service("web", 0, 0, 1)}})
	index = indexOf(have, backendNumber(0).ID)
	bring(t, have, State{Services: []Service{service("web", 0, 1)}})
	return have, index
}

// later is a census so many seconds after the first, which is at second 1000.
type later struct {
	seconds uint32
	Census
}

func TestAnIndexIsFreeOnceNoFlowAndNoFragmentCanNameIt(t *testing.T) {
	have, index := buried(t)
	none, seen := Census{}, Census{ByBackend: map[uint32]int{index: 1}}
	for _, row := range []struct {
		promise  string
		censuses []later
		frees    bool
	}{
		{"one sweep is not enough", []later{{0, none}}, false},
		{"two are, when fragments have been forgotten", []later{{0, none}, {FragmentSeconds + 2, none}}, true},
		{"a moment before that they are not", []later{{0, none}, {FragmentSeconds + 1, none}}, false},
		{"nor are many sweeps", []later{{0, none}, {1, none}, {2, none}, {3, none}}, false},
		{"what is seen of flows meanwhile does not begin fragments' time anew", []later{{0, seen}, {5, none}, {FragmentSeconds + 2, none}}, true},
		{"a flow that is seen in the first does not count", []later{{0, seen}, {60, none}}, false},
		{"a flow that is seen in between begins it anew", []later{{0, none}, {60, seen}, {120, none}}, false},
		{"until two more have seen none", []later{{0, none}, {60, seen}, {120, none}, {121, none}}, true},
	} {
		var quarantine Quarantine
		var steps []Step
		for _, census := range row.censuses {
			steps = quarantine.Release(have, census.Census, 1000+census.seconds)
		}
		if got := kinds(steps); (got == "-backend") != row.frees || len(steps) > 1 {
			t.Errorf("%s: got %q", row.promise, got)
		}
	}
}

func TestAnIndexThatWasRevivedRestsAnew(t *testing.T) {
	have, index := buried(t)
	var quarantine Quarantine
	release := func(second uint32) int { return len(quarantine.Release(have, Census{}, second)) }
	release(0)
	bring(t, have, State{Services: []Service{service("web", 0, 0, 1)}})
	if indexOf(have, backendNumber(0).ID) != index {
		t.Fatal("the backend came back under another index")
	}
	release(30)
	bring(t, have, State{Services: []Service{service("web", 0, 1)}})
	if release(31)+release(32) > 0 {
		t.Error("fragments of a moment ago name the index, and it is free")
	}
	if release(60) == 0 {
		t.Error("the index is never free")
	}
}

func TestASweepReportsTheFlowsOfTheDeadThatItFrees(t *testing.T) {
	have, index := buried(t)
	have.Flows[3] = uint64(MakeFlow(1, index, false, 60))
	alive := func(index uint32) bool { return !have.Backends[index].Dead }
	var quarantine Quarantine
	for sweep := range 3 {
		steps := quarantine.Release(have, have.Flows.Sweep(0, alive), uint32(60*sweep))
		if frees := len(steps) > 0; frees != (sweep == 2) {
			t.Errorf("sweep %d brings %q", sweep+1, kinds(steps))
		}
	}
}

func TestABackendThatComesBack(t *testing.T) {
	for _, row := range []struct {
		promise string
		back    Service
		named   bool
		same    bool
	}{
		{"gets its index again", service("web", 0, 0, 1), false, true},
		{"gets another while a flow names the old one, since that has gone on elsewhere", service("web", 0, 0, 1), true, false},
		{"gets another if it is forwarded to in another way", with(service("web", 0, 0, 1), func(s *Service) { s.Backends[0].Forward = L2 }), false, false},
		{"gets another if it comes back to another service", service("api", 0, 0, 1), false, false},
		{"gets another if its service has other slots by now", with(service("web", 0, 0, 1), func(s *Service) { s.Slots = 13 }), false, false},
	} {
		t.Run(row.promise, func(t *testing.T) {
			have, index := buried(t)
			if row.named {
				have.Flows[3] = uint64(MakeFlow(1, index, false, 60))
			}
			bring(t, have, State{Services: []Service{row.back}})
			if same := indexOf(have, backendNumber(0).ID) == index; same != row.same || have.Backends[index].Dead == row.same {
				t.Errorf("index %d is now %+v", index, have.Backends[index])
			}
		})
	}
}

func TestAServiceThatGetsTheIDOfAnotherDoesNotInheritItsDead(t *testing.T) {
	have, index := buried(t)
	bring(t, have, State{})
	for _, web := range []Service{service("web", 0, 1), service("web", 0, 0, 1)} {
		bring(t, have, State{Services: []Service{web}})
		if !have.Backends[index].Dead {
			t.Errorf("index %d is now %+v", index, have.Backends[index])
		}
	}
}

func TestABackendThatComesBackNeedsNoRoom(t *testing.T) {
	have := NewTables(Limits{Services: 1, VIPs: 1, Backends: 3}, 7)
	both := State{Services: []Service{service("web", 0, 0, 1)}}
	bring(t, have, both)
	bring(t, have, State{Services: []Service{service("web", 0, 1)}})
	if _, problems := Diff(have, State{Services: []Service{service("web", 0, 1, 5)}}); len(problems) != 1 {
		t.Errorf("another backend fits: %q", problems)
	}
	bring(t, have, both)
}
