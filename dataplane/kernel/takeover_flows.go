package kernel

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// flowsTakeover carries the flow table over. Mostly that is nothing to do: where
// layout, size and secret are the same, both programs use the one table.
//
// Else a larger table gets each bucket of the old one at all its places that share
// the old one's bits of the hash. What the old program would remember after that
// is kept from it by freeze: a flow that cannot be remembered goes where the
// new program sends flows that nobody remembers, which is the law of the slots.
type flowsTakeover struct {
	from, to *ebpf.Map // nil where there is nothing to carry
	reason   string    // why the flows are lost; "" if they are not
	copied   []uint64  // the old table when it was copied
}

// newFlowsTakeover decides by what is known of the maps alone, so that one that
// was interrupted decides the same.
func newFlowsTakeover(from, to *generation) flowsTakeover {
	old, was := from.tables[lbMapFlows]
	new, is := to.tables[lbMapFlows]
	f := flowsTakeover{reason: flowsLost(from, to)}
	if is && was && f.reason == "" && !sameMap(old.Map, new.Map) {
		f.from, f.to = old.Map, new.Map
	}
	return f
}

// flowsLost says why remembered flows mean nothing in the new maps.
func flowsLost(from, to *generation) string {
	old, was := from.tables[lbMapFlows]
	new, is := to.tables[lbMapFlows]
	switch {
	case !was || !is:
		return ""
	case from.version > to.version:
		return fmt.Sprintf("a build that came after this one remembered them, by layout %d", from.version)
	case from.secret != 0 && to.secret != 0 && from.secret != to.secret:
		return "the hash secret is another one"
	case !sameType(old.value, new.value) || old.MaxEntries() > new.MaxEntries():
		return "they are laid out otherwise"
	}
	return ""
}

// sharesFlows tells whether the new program can use the old table.
func sharesFlows(from *generation, want *ebpf.MapSpec, secret uint64) bool {
	old, was := from.tables[lbMapFlows]
	return was && from.version <= lbLayoutVersionLAYOUT_VERSION && (from.secret == 0 || from.secret == secret) &&
		sameKept(want.Value, old.value) && want.Compatible(old.Map) == nil
}

func sameMap(a, b *ebpf.Map) bool {
	one, err := a.Info()
	if err != nil {
		return false
	}
	other, err := b.Info()
	if err != nil {
		return false
	}
	first, known := one.ID()
	second, _ := other.ID()
	return known && first == second
}

func (f *flowsTakeover) lose() { f.from, f.to, f.reason = nil, nil, "" }

// use opens the tables for the time of a call.
func (f *flowsTakeover) use(do func(to, from dataplane.Flows)) error {
	if f.from == nil {
		return nil
	}
	from, err := mapRegion(f.from)
	if err != nil {
		return err
	}
	defer unix.Munmap(from)
	to, err := mapRegion(f.to)
	if err != nil {
		return err
	}
	defer unix.Munmap(to)
	do(words[uint64](to), words[uint64](from))
	return nil
}

func (f *flowsTakeover) copy(lost map[string]int) error {
	if f.reason != "" {
		lost["remembered flows ("+f.reason+")"]++
	}
	return f.use(func(to, from dataplane.Flows) {
		f.copied = to.CopyOf(from)
	})
}

// freezeSeconds is how long a table stays frozen whose takeover never ends: until
// then no slot in motion gets new flows, which breaks none.
const freezeSeconds = 30

// freeze copies what was learnt since copy, and lets the old program learn no more.
func (f *flowsTakeover) freeze(second uint32) error {
	return f.use(func(to, from dataplane.Flows) {
		from.Fill(second, second+freezeSeconds)
		f.copied = to.CopyOf(from)
	})
}

// merge takes what the old program did to flows since they were copied.
func (f *flowsTakeover) merge() error {
	second := monotonicSecond()
	return f.use(func(to, from dataplane.Flows) {
		to.Merge(from, f.copied, second)
	})
}

// monotonicSecond is now of the clock that the program reads.
func monotonicSecond() uint32 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // there is no such error
	}
	return uint32(now.Sec)
}
