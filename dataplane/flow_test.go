package dataplane_test

import (
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func FuzzFlow(f *testing.F) {
	f.Add(uint64(1), uint32(2), true, uint32(3), uint32(4))
	f.Fuzz(func(t *testing.T, digest uint64, index uint32, synOnly bool, second, left uint32) {
		index, left = index%MaxBackends, left%(MaxIdleSeconds+1)
		flow := MakeFlow(digest, index, synOnly, second+left)
		if flow.Digest() != digest&(1<<29-1) || flow.Backend() != index || flow.SYNOnly() != synOnly {
			t.Errorf("digest %x of backend %d, only a SYN: %t, became %x", digest, index, synOnly, flow)
		}
		if flow.Expired(second) || flow.Expired(second+left) || !flow.Expired(second+left+1) {
			t.Errorf("a flow that lives until %d is read as %x at %d", second+left, flow, second)
		}
	})
}

func TestTheCircleOfSeconds(t *testing.T) {
	begin := ^uint32(0) - 5 // so that the circle closes within the idle timeout
	flow := MakeFlow(1, 2, false, begin+MaxIdleSeconds)
	for _, row := range []struct {
		promise string
		second  uint32
		expired bool
	}{
		{"a flow of the longest timeout lives when it begins", begin, false},
		{"it lives at its last second", begin + MaxIdleSeconds, false},
		{"it is over a second later", begin + MaxIdleSeconds + 1, true},
		{"it is over for half of the circle", begin + 2*MaxIdleSeconds + 1, true},
		{"then it looks young again: it has to be swept before", begin + 2*MaxIdleSeconds + 2, false},
	} {
		if flow.Expired(row.second) != row.expired {
			t.Errorf("%s: expired is %t", row.promise, !row.expired)
		}
	}
}

func TestSweepFreesWhatIsOver(t *testing.T) {
	const second = 1000
	word := func(index uint32, expires uint32) uint64 { return uint64(MakeFlow(9, index, false, expires)) }
	flows := Flows{0, word(1, second), word(1, second-1), word(2, second+5), word(2, second+9), word(3, second+5), word(3, second-5), 0}
	asked := make(map[uint32]int)
	census := flows.Sweep(second, func(index uint32) bool {
		asked[index]++
		return index != 3
	})
	if census.Flows != 3 || census.Cleared != 3 || !maps.Equal(census.ByBackend, map[uint32]int{1: 1, 2: 2, 3: 1}) {
		t.Errorf("counted %+v", census)
	}
	for place, stays := range []bool{false, true, false, true, true, false, false, false} {
		if (flows[place] != 0) != stays {
			t.Errorf("entry %d is %x", place, flows[place])
		}
	}
	if again := flows.Sweep(second, func(uint32) bool { return true }); again.Flows != 3 || again.Cleared != 0 {
		t.Errorf("then counted %+v", again)
	}
}

func TestSweepNeverFreesAFlowThatCameMeanwhile(t *testing.T) {
	dying, young := uint64(MakeFlow(1, 1, false, 60)), uint64(MakeFlow(2, 2, false, 60))
	flows := Flows{dying}
	census := flows.Sweep(0, func(uint32) bool {
		atomic.StoreUint64(&flows[0], young) // between the look and the deed, as the program might
		return false
	})
	if flows[0] != young || census.Cleared != 0 {
		t.Errorf("counted %+v and left %x", census, flows[0])
	}
}

func TestSweepAndTheProgramShareTheTable(t *testing.T) {
	flows := make(Flows, FlowsPerBucket)
	var program sync.WaitGroup
	for place := range flows {
		program.Go(func() {
			for round := range uint32(1000) {
				atomic.StoreUint64(&flows[place], uint64(MakeFlow(1, 1, false, round)))
			}
		})
	}
	for second := range uint32(100) {
		flows.Sweep(10*second, func(uint32) bool { return true })
	}
	program.Wait()
	if census := flows.Sweep(999, func(uint32) bool { return true }); census.Flows != len(flows) {
		t.Errorf("at last there are %+v", census)
	}
}
