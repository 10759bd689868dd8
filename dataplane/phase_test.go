package dataplane_test

import (
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// The backends of the rows: the owner changes from A to B, F is another.
const (
	nobody, A, B, F = NoBackend, uint32(1), uint32(2), uint32(3)
	before, now     = uint32(70), uint32(100)
)

func settledOn() Condition { return Condition{} }
func moving(fallback, second uint32) Condition {
	return Condition{Phase: Moving, Fallback: fallback, Second: second}
}
func learning(fallback, second uint32) Condition {
	return Condition{Phase: Learning, Fallback: fallback, Second: second}
}
func settling(second uint32) Condition { return Condition{Phase: Settling, Second: second} }

func TestTheNextCondition(t *testing.T) {
	all := []uint32{A, B, F}
	for _, row := range []struct {
		promise     string
		protocol    Protocol
		held        Condition
		owner, next uint32
		alive       []uint32
		want        Condition
	}{
		{"the owner dies: its flows are lost, and a settled slot stays settled", TCP, settledOn(), A, B, []uint32{B}, settledOn()},
		{"the owner dies: likewise for UDP", UDP, settledOn(), A, B, []uint32{B}, settledOn()},
		{"the owner dies: a moving slot keeps its phase while its fallback lives", TCP, moving(F, before), A, B, []uint32{B, F}, moving(F, before)},
		{"the owner dies: a learning slot keeps its phase while its fallback lives", UDP, learning(F, before), A, B, []uint32{B, F}, learning(F, before)},
		{"the owner dies: a settling slot goes on settling", TCP, settling(before), A, B, []uint32{B}, settling(before)},
		{"the owner dies and so does the fallback: what is remembered elsewhere stays so", TCP, moving(F, before), A, B, []uint32{B}, settling(now)},

		{"the owner lives: a settled slot moves, since what nobody remembers is A's", TCP, settledOn(), A, B, all, moving(A, now)},
		{"the owner lives: a settled slot learns", UDP, settledOn(), A, B, all, learning(A, now)},
		{"the owner lives: a settling slot moves, since what nobody remembers is A's", TCP, settling(before), A, B, all, moving(A, now)},
		{"the owner lives: a settling slot learns", UDP, settling(before), A, B, all, learning(A, now)},
		{"the owner lives: a moving slot keeps its fallback, and A's remembered flows go elsewhere from now on", TCP, moving(F, before), A, B, all, moving(F, now)},
		{"the owner lives: a learning slot keeps its fallback, where all its flows are, and the time it began", UDP, learning(F, before), A, B, all, learning(F, before)},

		{"the owner becomes the fallback: a moving slot settles", TCP, moving(F, before), A, F, all, settling(now)},
		{"the owner becomes the fallback: a learning slot settles", UDP, learning(F, before), A, F, all, settling(now)},
		{"the dead owner's slots go to the fallback: a moving slot settles", TCP, moving(F, before), A, F, []uint32{F}, settling(now)},
		{"the fallback dies while the owner stays: a moving slot settles", TCP, moving(F, before), A, A, []uint32{A, B}, settling(now)},
		{"the fallback dies while the owner stays: a learning slot settles", UDP, learning(F, before), A, A, []uint32{A, B}, settling(now)},
		{"the fallback dies while the owner changes: a moving slot settles", TCP, moving(F, before), A, B, []uint32{A, B}, settling(now)},
		{"a moving slot that an interruption left with its own owner as fallback settles", TCP, moving(A, before), A, A, all, settling(now)},

		{"nothing changes: a settled slot stays so", TCP, settledOn(), A, A, all, settledOn()},
		{"nothing changes: a moving slot stays so", TCP, moving(F, before), A, A, all, moving(F, before)},
		{"nothing changes: a settling slot stays so", UDP, settling(before), A, A, all, settling(before)},

		{"the first backend of a slot that nobody owned gets all", TCP, settledOn(), nobody, B, all, settledOn()},
		{"all backends drain: their flows stay, and new ones find nobody", TCP, settledOn(), A, nobody, all, moving(A, now)},
		{"all backends drain: UDP flows are learned first", UDP, settledOn(), A, nobody, all, learning(A, now)},
		{"a drained backend that gets its slot back settles it", TCP, moving(A, before), nobody, A, all, settling(now)},
	} {
		t.Run(row.promise, func(t *testing.T) {
			moment := Moment{Second: now, Alive: func(index uint32) bool { return slices.Contains(row.alive, index) }}
			if got := row.held.Next(row.protocol, row.owner, row.next, moment); got != row.want {
				t.Errorf("got %s %+v, want %s %+v", got.Phase, got, row.want.Phase, row.want)
			}
		})
	}
}

func TestWhatTimeDoesToACondition(t *testing.T) {
	const idle = 60
	for _, row := range []struct {
		promise string
		held    Condition
		second  uint32
		want    Condition
	}{
		{"a settled slot stays so, whatever the second", Condition{Second: before}, before + 10*idle, Condition{Second: before}},
		{"a slot learns until a whole timeout is over", learning(F, before), before + idle, learning(F, before)},
		{"then every living flow has been seen, and the slot settles", learning(F, before), before + idle + 1, settling(before + idle + 1)},
		{"a slot moves as long as a forgotten flow may live", moving(F, before), before + idle, moving(F, before)},
		{"then nobody needs the fallback any more, and it settles", moving(F, before), before + idle + 1, settling(before + idle + 1)},
		{"a slot settles as long as a flow that went elsewhere may live", settling(before), before + idle, settling(before)},
		{"then it is settled", settling(before), before + idle + 1, settledOn()},
		{"a packet later than the look at the clock is no packet of long ago", settling(now + 1), now, settling(now + 1)},
		{"seconds go round: no slot settles early", settling(^uint32(0)), idle - 1, settling(^uint32(0))},
		{"seconds go round: a slot settles in time", settling(^uint32(0)), idle, settledOn()},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if got := row.held.Tick(Moment{Second: row.second, IdleSeconds: idle}); got != row.want {
				t.Errorf("got %s %+v, want %s %+v", got.Phase, got, row.want.Phase, row.want)
			}
		})
	}
}

func FuzzConditions(f *testing.F) {
	f.Add(uint32(3), uint32(1), uint32(2), uint32(7))
	f.Fuzz(func(t *testing.T, slot, phase, fallback, second uint32) {
		slot %= 9
		memory := MakeConditions(9)
		c := Condition{Phase: Phase(phase % 4), Fallback: fallback % MaxBackends, Second: second}
		for _, protocol := range protocols {
			memory.Put(slot, protocol, c)
			for other := range uint32(9) {
				for _, of := range protocols {
					want := Condition{}
					if other == slot && of == protocol {
						want = c
					}
					if got := memory.At(other, of); got != want {
						t.Fatalf("slot %d is %+v for %s, want %+v", other, got, of, want)
					}
				}
			}
			memory.Put(slot, protocol, Condition{})
		}
	})
}
