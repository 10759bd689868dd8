package maglev

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// plain is the paper's algorithm with the package's turns, written for reading:
// sort all turns by their time and let each take the next free slot. It walks
// every permutation to the end.
func plain(members []Member, slots int) []uint32 {
	type moment struct {
		time uint64
		turn int
	}
	turns := draw(members)
	if len(turns) == 0 {
		return nil
	}
	weights := 0
	for _, t := range turns {
		weights += int(t.weight)
	}
	var moments []moment
	for i, t := range turns {
		first, interval := t.times()
		most := (slots+len(turns))*int(t.weight)/weights + 3 // turns that can come before all slots are taken
		for j := range most {
			moments = append(moments, moment{first + uint64(j)*interval, i})
		}
	}
	slices.SortStableFunc(moments, func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.time, b.time), a.turn-b.turn)
	})

	owners := make([]uint32, slots)
	taken := make([]bool, slots)
	visited := make([]uint64, len(turns))
	for _, m := range moments[:slots] {
		t := turns[m.turn]
		for {
			slot := (t.offset%uint64(slots) + visited[m.turn]*(t.skip%uint64(slots-1)+1)) % uint64(slots)
			visited[m.turn]++
			if !taken[slot] {
				taken[slot], owners[slot] = true, t.member
				break
			}
		}
	}
	return owners
}

// seeded returns a source of chance that a failure can be repeated with.
func seeded(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("repeat with SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func drawMembers(random *rand.Rand, n int) []Member {
	members := make([]Member, n)
	for i := range members {
		members[i] = Member{Key: fmt.Sprintf("10.0.%d.%d", random.IntN(256), i), Weight: 1 + random.IntN(256)}
	}
	return members
}

func count(members []Member, slots int) []int {
	counts := make([]int, len(members))
	for _, owner := range Build(members, slots) {
		counts[owner]++
	}
	return counts
}

func byKey(members []Member, owners []uint32) []string {
	keys := make([]string, len(owners))
	for slot, owner := range owners {
		keys[slot] = members[owner].Key
	}
	return keys
}

func same(t *testing.T, members []Member, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%v: %d slots instead of %d", members, len(got), len(want))
	}
	for slot := range want {
		if got[slot] != want[slot] {
			t.Fatalf("%v: slot %d of %d belongs to %q instead of %q", members, slot, len(want), got[slot], want[slot])
		}
	}
}
