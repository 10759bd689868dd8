package kernel

import (
	"bytes"
	"maps"
	"testing"
)

// promise is a row of the table of packets: what comes in, and what becomes of
// it. Exactly one counter moves, by one.
type promise struct {
	says  string
	frame []byte
	fate  fate
	after [][]byte // packets that came before
}

// fate is what becomes of a packet.
type fate struct {
	outcome string
	to      uint16 // of FORWARD: the way
	leaves  leaves // what leaves or passes; nil if nothing does
}

// leaves is the frame that leaves, by the one that came in. What the program may
// choose, such as the entropy, is read from the one that it sent.
type leaves func(in, sent []byte) []byte

// The fates.
func passes(outcome string) fate            { return fate{outcome: outcome, leaves: unchanged} }
func dropped(outcome string) fate           { return fate{outcome: outcome} }
func goesTo(to uint16) fate                 { return fate{outcome: "FORWARD", to: to, leaves: wayTo(to).leaves} }
func replies(outcome string, l leaves) fate { return fate{outcome: outcome, leaves: l} }

func unchanged(in, _ []byte) []byte { return in }

// keep sends each row's packets to the program, and to the oracle: what both
// are held to is said here by hand.
func keep(t *testing.T, promises []promise) {
	t.Helper()
	stage := newStage(t)
	for _, row := range promises {
		t.Run(row.says, func(t *testing.T) {
			for who, send := range map[string]func([]byte) result{"the program": stage.send, "the oracle": stage.foresee} {
				stage.forget()
				for _, before := range row.after {
					send(before)
				}
				stage.hold(t, who, row, send(row.frame))
			}
		})
	}
}

// hold wants a packet to have met its fate.
func (s *stage) hold(t *testing.T, who string, row promise, got result) {
	t.Helper()
	want := row.fate
	if verdict := s.verdict(want); got.verdict != verdict {
		t.Errorf("%s: the verdict is %d, want %d", who, got.verdict, verdict)
	}
	if moved := map[string]uint64{s.counter(want): 1}; !maps.Equal(got.moved, moved) {
		t.Errorf("%s: counters moved by %v, want %v", who, got.moved, moved)
	}
	if want.leaves == nil {
		return
	}
	if frame := want.leaves(row.frame, got.frame); !bytes.Equal(got.frame, frame) {
		t.Errorf("%s: the frame is\n%x, want\n%x", who, got.frame, frame)
	}
}
