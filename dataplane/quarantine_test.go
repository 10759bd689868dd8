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

func TestAnIndexIsFreeAfterTwoSweepsWithoutAFlow(t *testing.T) {
	have, index := buried(t)
	none, seen := Census{}, Census{ByBackend: map[uint32]int{index: 1}}
	for _, row := range []struct {
		promise  string
		censuses []Census
		frees    bool
	}{
		{"one sweep is not enough", []Census{none}, false},
		{"two are", []Census{none, none}, true},
		{"a flow that is seen in the first does not count", []Census{seen, none}, false},
		{"a flow that is seen in between begins it anew", []Census{none, seen, none}, false},
		{"until two more have seen none", []Census{none, seen, none, none}, true},
	} {
		var quarantine Quarantine
		var steps []Step
		for _, census := range row.censuses {
			steps = quarantine.Release(have, census)
		}
		if got := kinds(steps); (got == "-backend") != row.frees || len(steps) > 1 {
			t.Errorf("%s: got %q", row.promise, got)
		}
	}
}

func TestASweepReportsTheFlowsOfTheDeadThatItFrees(t *testing.T) {
	have, index := buried(t)
	have.Flows[3] = uint64(MakeFlow(1, index, false, 60))
	alive := func(index uint32) bool { return !have.Backends[index].Dead }
	var quarantine Quarantine
	for sweep := range 3 {
		steps := quarantine.Release(have, have.Flows.Sweep(0, alive))
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
