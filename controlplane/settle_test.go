package controlplane

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/dataplane"
)

// tablesWithFlows hold backends 1 to 3 and a flow of each in every chunk.
func tablesWithFlows(chunks int) *dataplane.Tables {
	tables := dataplane.NewTables(dataplane.Limits{Services: 1, VIPs: 1, Backends: 4}, 7)
	tables.Flows = make(dataplane.Flows, chunks*sweepChunk-7) // the last chunk is a short one
	for index := range uint32(4) {
		tables.Backends[index] = dataplane.BackendEntry{}
		for chunk := range chunks {
			tables.Flows[chunk*sweepChunk+int(index)] = uint64(dataplane.MakeFlow(1, index, false, 100))
		}
	}
	delete(tables.Backends, dataplane.NoBackend)
	return tables
}

func TestAPassLooksAtEveryFlowOnce(t *testing.T) {
	tables := tablesWithFlows(3)
	var p pass
	p.begin(tables, nil)
	for range 2 {
		if _, whole := p.look(tables, 50); whole {
			t.Fatal("the pass is over before its last chunk")
		}
	}
	found, whole := p.look(tables, 50)
	if !whole || found.Flows != 9 || found.ByBackend[2] != 3 || found.Cleared != 3 {
		t.Errorf("whole: %v, %+v", whole, found)
	}
	if _, again := p.look(tables, 50); again {
		t.Error("a pass that is over goes on")
	}
}

func TestABackendThatDiesDuringAPassIsNotFreedByIt(t *testing.T) {
	tables := tablesWithFlows(2)
	var q dataplane.Quarantine
	var p pass
	passes := 0
	die := func(index uint32) { tables.Backends[index] = dataplane.BackendEntry{Dead: true} }
	die(1)
	second := uint32(50)
	for released := false; !released && passes < 9; passes++ {
		second += 2 * dataplane.FragmentSeconds // so that only flows can be in the way
		p.begin(tables, nil)
		p.look(tables, 50)
		if passes == 0 {
			die(2)
		}
		found, whole := p.look(tables, 50)
		if !whole {
			t.Fatal("two chunks are not the whole")
		}
		for _, step := range q.Release(tables, p.doubted(tables, found), second) {
			step.Replay(tables)
			released = step.(dataplane.DeleteBackend).Index == 2
		}
		if _, held := tables.Backends[1]; !held && passes < 2 {
			t.Errorf("index 1 is free after %d passes", passes+1)
		}
		if found.ByBackend[2] > 2 {
			t.Errorf("what is shown of a backend has invented flows: %v", found.ByBackend)
		}
	}
	// Named in the first pass, where it died; in the second, by what the first
	// had not reached; quiet in the third; free after the fourth.
	if passes < 3 {
		t.Errorf("index 2 is free after %d passes", passes)
	}
}

func TestTheLoopsSecondIsThatOfTheMonotonicClock(t *testing.T) {
	var fine unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &fine); err != nil {
		t.Fatal(err)
	}
	if coarse := monotonicSecond(); coarse-uint32(fine.Sec)+1 > 2 {
		t.Errorf("the coarse second is %d, the fine one %d", coarse, fine.Sec)
	}
}

func TestTheFileAllowsTheIdleTimeoutsThatFlowsCanHave(t *testing.T) {
	if most := config.MaxIdleTimeout / time.Second; most != dataplane.MaxIdleSeconds {
		t.Errorf("the file allows %d seconds, a flow %d", most, dataplane.MaxIdleSeconds)
	}
}
