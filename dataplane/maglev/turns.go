package maglev

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// turn is a member with a weight above zero and what was drawn from its key.
type turn struct {
	member uint32
	weight uint32
	phase  uint32
	offset uint64 // offset and skip of the paper, before the modulo
	skip   uint64
}

// draw returns the members that get slots, one for each key, by phase.
func draw(members []Member) []turn {
	// A phase and an index in one integer sort several times faster than structs.
	byPhase := make([]uint64, 0, len(members))
	drawn := make([]turn, len(members))
	for i, m := range members {
		if m.Weight <= 0 {
			continue
		}
		// SHA-256 because it is at hand, the same everywhere and for ever, and
		// as good as random for keys that differ in one digit.
		sum := sha256.Sum256([]byte(m.Key))
		drawn[i] = turn{
			member: uint32(i),
			weight: uint32(min(m.Weight, MaxWeight)),
			phase:  binary.LittleEndian.Uint32(sum[16:]),
			offset: binary.LittleEndian.Uint64(sum[0:]),
			skip:   binary.LittleEndian.Uint64(sum[8:]),
		}
		byPhase = append(byPhase, uint64(drawn[i].phase)<<32|uint64(i))
	}
	slices.Sort(byPhase)
	turns := make([]turn, len(byPhase))
	for i, packed := range byPhase {
		turns[i] = drawn[uint32(packed)]
	}
	return distinct(members, turns)
}

// distinct puts members of the same phase in the order of their keys and keeps
// the heaviest of those with the same key.
func distinct(members []Member, turns []turn) []turn {
	byKeyAndWeight := func(a, b turn) int {
		if c := strings.Compare(members[a.member].Key, members[b.member].Key); c != 0 {
			return c
		}
		return int(b.weight) - int(a.weight)
	}
	for first := 0; first < len(turns); {
		end := first + 1
		for end < len(turns) && turns[end].phase == turns[first].phase {
			end++
		}
		if end > first+1 {
			slices.SortStableFunc(turns[first:end], byKeyAndWeight)
		}
		first = end
	}
	return slices.CompactFunc(turns, func(a, b turn) bool {
		return a.phase == b.phase && members[a.member].Key == members[b.member].Key
	})
}

// schedule returns whose turn it is, as an index into turns, as often as there
// are slots.
func schedule(turns []turn, slots uint32) []uint32 {
	for _, t := range turns {
		if t.weight != turns[0].weight {
			return interleave(turns, slots)
		}
	}
	// Members of equal weight follow one another in the order of their phase.
	whose := make([]uint32, slots)
	next := uint32(0)
	for i := range whose {
		whose[i] = next
		if next++; next == uint32(len(turns)) {
			next = 0
		}
	}
	return whose
}

// oneTurn is the time between two turns of a member of weight 1. MaxWeight
// divides it with an error of 2^-16, usual weights up to 256 with one of 2^-24.
const oneTurn = 1 << 32

// interleave merges the turns of members of different weights by a bucket sort:
// turns are spread evenly over time, so with a bucket for each turn only
// neighbours are left to be compared.
func interleave(turns []turn, slots uint32) []uint32 {
	weights := uint64(0)
	for _, t := range turns {
		weights += uint64(t.weight)
	}
	// By the time t a member of weight w has had more than t·w - 1 turns.
	enough := uint64(slots) + uint64(len(turns))
	horizon := uint64(float64(enough)/float64(weights)*oneTurn) + 1
	shift := max(bits.Len64(horizon/enough)-1, 0)

	ends := make([]uint32, horizon>>shift+1)
	for _, t := range turns {
		first, interval := t.times()
		for time := first; time < horizon; time += interval {
			ends[time>>shift]++
		}
	}
	total := uint32(0)
	for i, count := range ends {
		ends[i], total = total, total+count
	}

	// An event is its time and, below it, whose turn it is: so those at the same
	// time are in the order of phases and keys. That fits, because a time is
	// below 2^32·enough/weights, and there are no more members than weights.
	events := make([]uint64, total)
	width := bits.Len(uint(len(turns)))
	for i, t := range turns {
		first, interval := t.times()
		for time := first; time < horizon; time += interval {
			at := &ends[time>>shift]
			events[*at] = time<<width | uint64(i)
			*at++
		}
	}
	return nearlySorted(events, width)[:slots]
}

// times returns when the first turn of a member is, and how far apart they are.
func (t turn) times() (first, interval uint64) {
	interval = oneTurn / uint64(t.weight)
	return interval * uint64(t.phase) >> 32, interval
}

// nearlySorted sorts events that are at most a few places from where they
// belong, and returns whose they are.
func nearlySorted(events []uint64, width int) []uint32 {
	whose := make([]uint32, len(events))
	for i := 1; i < len(events); i++ {
		event, j := events[i], i
		for ; j > 0 && event < events[j-1]; j-- {
			events[j] = events[j-1]
		}
		events[j] = event
	}
	for i, event := range events {
		whose[i] = uint32(event & (1<<width - 1))
	}
	return whose
}
