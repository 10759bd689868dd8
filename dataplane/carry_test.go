package dataplane

import (
	"math/rand/v2"
	"testing"
)

const carryNow = 1000

func flowAt(digest uint64, index, expires uint32) uint64 {
	return uint64(MakeFlow(digest, index, false, expires))
}

func TestALargerFlowTableGetsEachBucketAtAllItsPlaces(t *testing.T) {
	old, larger := make(Flows, 2*FlowsPerBucket), make(Flows, 8*FlowsPerBucket)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range old {
		old[i] = flowAt(random.Uint64(), uint32(1+i), carryNow+100)
	}
	larger.CopyOf(old)
	for i, word := range larger {
		if word != old[i%len(old)] {
			t.Fatalf("the word at %d is %x, want %x", i, word, old[i%len(old)])
		}
	}
}

func TestAFrozenFlowTableHasNoRoomAndForgetsNobody(t *testing.T) {
	table := make(Flows, FlowsPerBucket)
	table[0], table[1] = flowAt(7, 3, carryNow+5), flowAt(8, 3, carryNow-5)
	table.Fill(carryNow, carryNow+30)
	if table[0] != flowAt(7, 3, carryNow+5) {
		t.Error("a living flow was taken out")
	}
	for i, word := range table {
		if word == 0 || Flow(word).Expired(carryNow+20) && i > 0 {
			t.Errorf("there is room at %d", i)
		}
	}
	copied := make(Flows, FlowsPerBucket)
	copied.CopyOf(table)
	if copied[0] != table[0] || copied[1] != 0 || copied[7] != 0 {
		t.Errorf("the flows of nobody were carried over: %x", copied)
	}
}

func TestWhatTheOldProgramDidToFlowsIsCarriedOver(t *testing.T) {
	const digest = 77
	was := flowAt(digest, 3, carryNow+10)
	for _, row := range []struct {
		promise          string
		copied, old, now uint64
		want             uint64
	}{
		{"a flow that was renewed lives as long", was, flowAt(digest, 3, carryNow+60), was, flowAt(digest, 3, carryNow+60)},
		{"unless the new program has renewed it since", was, flowAt(digest, 3, carryNow+60), flowAt(digest, 3, carryNow+70), flowAt(digest, 3, carryNow+70)},
		{"one that began anew elsewhere is there", was, flowAt(digest, 4, carryNow+10), was, flowAt(digest, 4, carryNow+10)},
		{"unless it began anew at the new program", was, flowAt(digest, 4, carryNow+10), flowAt(digest, 5, carryNow+10), flowAt(digest, 5, carryNow+10)},
		{"one that was learnt is learnt", 0, flowAt(digest, 3, carryNow+10), 0, flowAt(digest, 3, carryNow+10)},
		{"one that is over is not", 0, flowAt(digest, 3, carryNow-10), 0, 0},
		{"one that was forgotten is forgotten", was, 0, was, 0},
		{"unless the new program knows it anew", was, 0, flowAt(digest, 5, carryNow+8), flowAt(digest, 5, carryNow+8)},
		{"one whose place another took is forgotten", was, flowAt(digest+1, 6, carryNow+9), was, flowAt(digest+1, 6, carryNow+9)},
		{"a flow of nobody is none", 0, flowAt(digest, NoBackend, carryNow+30), 0, 0},
	} {
		t.Run(row.promise, func(t *testing.T) {
			old, copied, now := make(Flows, FlowsPerBucket), make([]uint64, FlowsPerBucket), make(Flows, 2*FlowsPerBucket)
			old[2], copied[2], now[2], now[FlowsPerBucket+2] = row.old, row.copied, row.now, row.now
			now.Merge(old, copied, carryNow)
			for _, half := range []Flows{now[:FlowsPerBucket], now[FlowsPerBucket:]} {
				var found []uint64
				for _, word := range half {
					if word != 0 {
						found = append(found, word)
					}
				}
				if row.want == 0 && len(found) > 0 || row.want != 0 && (len(found) != 1 || found[0] != row.want) {
					t.Errorf("there are %x, want %x", found, row.want)
				}
			}
		})
	}
}

func TestATakeoverThatWasInterruptedTakesNothingFromTheNewProgram(t *testing.T) {
	old, now := make(Flows, FlowsPerBucket), make(Flows, FlowsPerBucket)
	old[0], old[1] = flowAt(1, 3, carryNow+10), flowAt(2, 3, carryNow+10)
	now[0] = flowAt(1, 4, carryNow+5)
	for range 2 { // and doing it again changes nothing
		now.Merge(old, nil, carryNow)
		if now[0] != flowAt(1, 4, carryNow+5) || !now.has(2, carryNow) {
			t.Errorf("there are %x", now)
		}
	}
}
