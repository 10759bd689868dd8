// Package maglev fills lookup tables by weighted Maglev hashing (Eisenbud et
// al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
// section 3.4): every member takes slots in turn, each time the next free one
// of its own permutation of all slots.
//
// Weights decide how often a member's turn comes. A member of weight w has its
// turns at the times (j + phase) / w for j = 0, 1, 2, …, where phase, from 0 to
// 1, is drawn from its key. No time depends on the other members, so removing
// one leaves the others' order as it was and moves little; and the phases keep
// members of equal weight from being rounded up or down all together.
//
// What a table promises, for M slots, n members and W the sum of the weights:
//   - every slot has an owner;
//   - the owners, as keys, do not depend on the order of the members;
//   - a member of weight w owns M·w/W slots, give or take one slot and 1/1000
//     of that number; where all weights are equal, the give or take is less
//     than one slot;
//   - when a member is removed, its slots move and so do a few of the others':
//     less than 1 % of all slots at M = 65537, whatever the number of members.
//     (Measured: at most 0.6 %, between 100 and 1000 members.)
package maglev

import "math/bits"

// MaxWeight is the largest weight for which the promises hold; greater ones
// count as this one.
const MaxWeight = 1 << 16

// MaxSlots is the largest table.
const MaxSlots = 1 << 28

// Member is one that may own slots. Key alone decides which slots it prefers.
// Of members with the same key the one of the greatest weight counts; a weight
// of zero or less owns nothing.
type Member struct {
	Key    string
	Weight int
}

// Build returns the owner of each slot as an index into members. It returns nil
// if no member has a weight above zero, or if slots is not a prime up to
// MaxSlots: only then does every permutation visit every slot.
func Build(members []Member, slots int) []uint32 {
	turns := draw(members)
	if len(turns) == 0 || slots > MaxSlots || !IsPrime(slots) {
		return nil
	}
	return fill(turns, uint32(slots))
}

// IsPrime tells whether a table may have this many slots.
func IsPrime(n int) bool {
	if n < 2 {
		return false
	}
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// permutation is where a member stands in its permutation of the slots: the
// next slot it asks for, and the step from there. Eight bytes, so that those of
// a thousand members stay in the first cache.
type permutation struct{ next, skip uint32 }

// few is the number of free slots from which on it is quicker to compute which
// of them a member comes to first than to walk its permutation until it does.
const few = 256

// fill gives a slot to the member whose turn it is until every slot has an
// owner. Without the shortcut for the last few slots, about slots·ln(slots)
// slots would be looked at, half of them for those. A bit a slot says whether
// it is taken, which keeps the looking in the first cache.
func fill(turns []turn, slots uint32) []uint32 {
	permutations := make([]permutation, len(turns))
	for i, t := range turns {
		permutations[i] = permutation{
			next: uint32(t.offset % uint64(slots)),
			skip: uint32(t.skip%uint64(slots-1)) + 1,
		}
	}
	owners := make([]uint32, slots)
	taken := make([]uint64, slots/64+1)
	whose := schedule(turns, slots)
	walked := max(len(whose)-few, 0)
	for _, i := range whose[:walked] {
		next, skip := permutations[i].next, permutations[i].skip
		for taken[next/64]&(1<<(next%64)) != 0 {
			next = advance(next, skip, slots)
		}
		taken[next/64] |= 1 << (next % 64)
		owners[next] = i
		permutations[i].next = advance(next, skip, slots)
	}
	last := free(taken, slots)
	for _, i := range whose[walked:] {
		nearest := permutations[i].nearest(last, slots)
		slot := last[nearest]
		last[nearest] = last[len(last)-1]
		last = last[:len(last)-1]
		owners[slot] = i
		permutations[i].next = advance(slot, permutations[i].skip, slots)
	}
	// In the loops owners are indexes into turns, so as not to touch those.
	members := make([]uint32, len(turns))
	for i, t := range turns {
		members[i] = t.member
	}
	for slot, i := range owners {
		owners[slot] = members[i]
	}
	return owners
}

// free lists the slots whose bit is not set.
func free(taken []uint64, slots uint32) []uint32 {
	list := make([]uint32, 0, few)
	for word, set := range taken {
		for clear := ^set; clear != 0; clear &= clear - 1 {
			slot := uint32(64*word + bits.TrailingZeros64(clear))
			if slot < slots {
				list = append(list, slot)
			}
		}
	}
	return list
}

// nearest returns the index of the free slot that the permutation comes to
// first: that with the least j in slot = next + j·skip modulo slots.
func (p permutation) nearest(free []uint32, slots uint32) int {
	inverse := invert(p.skip, slots)
	reciprocal := ^uint64(0) / uint64(slots)
	nearest, least := 0, uint64(slots)
	for i, slot := range free {
		product := uint64(advance(slot, slots-p.next, slots)) * inverse
		// product modulo slots by a multiplication: the quotient is at most one too small.
		quotient, _ := bits.Mul64(product, reciprocal)
		j := product - quotient*uint64(slots)
		if j >= uint64(slots) {
			j -= uint64(slots)
		}
		if j < least {
			nearest, least = i, j
		}
	}
	return nearest
}

// invert returns the number whose product with n is 1 modulo the prime p, by
// Euclid's extended algorithm.
func invert(n, p uint32) uint64 {
	a, b := int64(p), int64(n)
	x, y := int64(0), int64(1)
	for b != 0 {
		q := a / b
		a, b = b, a-q*b
		x, y = y, x-q*y
	}
	if x < 0 {
		x += int64(p)
	}
	return uint64(x)
}

// advance is (slot + skip) modulo slots without a division, and without a branch
// that would be mispredicted every other time: the mask is all ones where the
// sum is below slots. Both are below MaxSlots, so the sign bit is free.
func advance(slot, skip, slots uint32) uint32 {
	over := slot + skip - slots
	return over + slots&uint32(int32(over)>>31)
}
