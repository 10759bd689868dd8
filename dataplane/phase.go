package dataplane

import "sync/atomic"

// Phase is what a slot is going through. The values are those of enum phase in
// bpf/types.h; a test in dataplane/kernel holds them equal.
//
//	            TCP SYN                             any other packet
//	Settled     owner                               owner
//	Moving      owner if it could be remembered,    remembered, else fallback
//	            else fallback
//	Learning    –                                   remembered, else fallback, which is remembered
//	Settling    owner                               remembered, else owner
type Phase uint32

// Moving is of TCP, Learning of UDP.
const (
	Settled  Phase = 0
	Moving   Phase = 1
	Learning Phase = 2
	Settling Phase = 3
)

func (p Phase) String() string {
	return [...]string{"settled", "moving", "learning", "settling"}[p&3]
}

// Condition is what a slot goes through for one protocol. The zero Condition
// is settled. Second, of the monotonic clock, is when the phase was last needed:
// by a packet of a forgotten flow that went to the fallback (Moving), of any flow
// that went to another backend than the owner (Settling), or of a flow that could
// not be remembered (Learning); or when it began.
type Condition struct {
	Phase    Phase
	Fallback uint32 // NoBackend unless Moving or Learning
	Second   uint32
}

// Moment is what a condition's next one depends on besides the slot itself.
type Moment struct {
	Second      uint32
	IdleSeconds uint32            // a flow that is silent for longer is over
	Alive       func(uint32) bool // of a backend's index; a draining backend is alive
}

// Next is the condition of a slot whose owner changes from one backend to
// another, or stays while others die. It and Tick are the only place where the
// policy of slots lives.
//
// The law: a new flow may go to the new owner only if it can be remembered;
// otherwise it goes where a forgotten flow would go.
func (c Condition) Next(protocol Protocol, owner, next uint32, now Moment) Condition {
	if owner != next && now.Alive(owner) {
		if c.Phase == Settled || c.Phase == Settling {
			// What nobody remembers here is the old owner's.
			c = Condition{Phase: inMotion(protocol), Fallback: owner, Second: now.Second}
		} else if c.Phase == Moving {
			// The old owner's flows are remembered; from now on they go elsewhere.
			c.Second = now.Second
		}
	}
	if c.hasFallback() && (c.Fallback == next || !now.Alive(c.Fallback)) {
		c = Condition{Phase: Settling, Second: now.Second}
	}
	return c
}

// Tick is the condition after time has passed.
func (c Condition) Tick(now Moment) Condition {
	// A flow lives until its timeout is over, and seconds are cut off: so more
	// than the timeout has to pass. As signed, since the program may have noted
	// a later second than this one.
	if c.Phase == Settled || int32(now.Second-c.Second) <= int32(now.IdleSeconds) {
		return c
	}
	if c.hasFallback() {
		// By now every living flow of the fallback has been seen and is
		// remembered, or there is none that is not.
		return Condition{Phase: Settling, Second: now.Second}
	}
	return Condition{}
}

func (c Condition) hasFallback() bool { return c.Phase == Moving || c.Phase == Learning }

func inMotion(protocol Protocol) Phase {
	if protocol == UDP {
		return Learning
	}
	return Moving
}

// Conditions is the memory of the conditions of all slots: for each slot four
// words, the word and the second of TCP and those of UDP, as struct
// slot_conditions in bpf/types.h. The word holds the fallback above the phase,
// so that one store changes both.
type Conditions []uint32

const (
	wordsPerSlot = 4
	phaseBits    = 2
)

// MakeConditions is memory for a number of settled slots.
func MakeConditions(slots int) Conditions { return make(Conditions, slots*wordsPerSlot) }

// Slots is how many have conditions.
func (m Conditions) Slots() int { return len(m) / wordsPerSlot }

// At reads the condition of a slot for a protocol.
func (m Conditions) At(slot uint32, protocol Protocol) Condition {
	return conditionOf(m.word(slot, protocol), atomic.LoadUint32(&m[conditionAt(slot, protocol)+1]))
}

func (m Conditions) word(slot uint32, protocol Protocol) uint32 {
	return atomic.LoadUint32(&m[conditionAt(slot, protocol)])
}

func conditionOf(word, second uint32) Condition {
	return Condition{Phase: Phase(word & (1<<phaseBits - 1)), Fallback: word >> phaseBits, Second: second}
}

func (c Condition) word() uint32 { return c.Fallback<<phaseBits | uint32(c.Phase) }

// Put writes a condition. The second goes first: a phase with an older second
// could be over before it began.
func (m Conditions) Put(slot uint32, protocol Protocol, c Condition) {
	at := conditionAt(slot, protocol)
	atomic.StoreUint32(&m[at+1], c.Second)
	atomic.StoreUint32(&m[at], c.word())
}

func conditionAt(slot uint32, protocol Protocol) int {
	at := int(slot) * wordsPerSlot
	if protocol == UDP {
		at += 2
	}
	return at
}
