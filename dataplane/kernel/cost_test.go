package kernel

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/pointsman/pointsman/dataplane"
)

var update = flag.Bool("update", false, "write anew what a packet costs")

const costFile = "testdata/cost.golden"

// The guard of the fast path's cost. It times nothing: it counts what the shipped
// program does for a packet. Who makes it worse has to commit the greater number.
func TestAPacketCostsWhatIsCommitted(t *testing.T) {
	var text strings.Builder
	text.WriteString("# What a packet costs: instructions of the shipped program, helpers and maps in the order of calls,\n" +
		"# cache lines of each map. Written by: go test ./dataplane/kernel -run TestAPacketCosts -update\n")
	for _, p := range paths {
		cost, err := p.cost(t)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		fmt.Fprintf(&text, "%-28s %4d instructions; %s; %s\n", p.name, cost.instructions, strings.Join(cost.calls, " "), touched(cost))
	}
	for _, s := range hotStructures {
		fmt.Fprintf(&text, "struct %-19s %4d bytes, %d lines at most\n", s.name, s.size, linesOf(s.size))
	}
	if *update {
		if err := os.WriteFile(costFile, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(costFile)
	if err != nil {
		t.Fatal(err)
	}
	got := text.String()
	for line := range strings.Lines(string(want)) {
		if !strings.Contains(got, line) {
			t.Errorf("committed: %s", line)
		}
	}
	for line := range strings.Lines(got) {
		if !strings.Contains(string(want), line) {
			t.Errorf("now:       %s", line)
		}
	}
	if t.Failed() {
		t.Errorf("if that is meant: -update, and commit %s with the reason", costFile)
	}
}

// hotStructures are what packets read from maps.
var hotStructures = []struct {
	name string
	size uintptr
}{
	{"vip_key", unsafe.Sizeof(lbVipKey{})},
	{"vip", unsafe.Sizeof(lbVip{})},
	{"vip_line", unsafe.Sizeof(lbVipLine{})},
	{"vip_entry", unsafe.Sizeof(lbVipEntry{})},
	{"slot_line", unsafe.Sizeof(lbSlotLine{})},
	{"backend", unsafe.Sizeof(lbBackend{})},
	{"backend_count", unsafe.Sizeof(lbBackendCount{})},
	{"condition_line", unsafe.Sizeof(lbConditionLine{})},
	{"flow_bucket", unsafe.Sizeof(lbFlowBucket{})},
}

// linesOf is for a structure that starts where a line does, if it fills one.
func linesOf(size uintptr) uintptr { return (size + cacheLine - 1) / cacheLine }

func touched(c cost) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(c.lines)) {
		if !strings.HasPrefix(name, ".") {
			all = append(all, fmt.Sprintf("%s %d", name, len(c.lines[name])))
		}
	}
	return strings.Join(all, ", ")
}

// unsettle puts all slots into a phase, with the other backend of two as fallback.
func (m *machine) unsettle(protocol dataplane.Protocol, phase dataplane.Phase) {
	entries := m.maps[lbMapVipEntries]
	for index := range uint64(entries.entries) {
		const flagsAt = uint64(unsafe.Offsetof(lbVipEntry{}.Vip) + unsafe.Offsetof(lbVip{}.Flags))
		at := entries.values + index*uint64(entries.value) + flagsAt
		m.store(at, m.load(at, 4)|uint64(lbVipFlagVIP_UNSETTLED), 4)
	}
	conditions := dataplane.MakeConditions(int(testLimits.Backends) * 64)
	for slot := range uint32(251) {
		owner := uint32(m.load(m.maps[lbMapSlots].values+uint64(4*slot), 4))
		conditions.Put(slot, protocol, dataplane.Condition{Phase: phase, Fallback: 3 - owner})
	}
	copy(m.memory(m.maps[lbMapConditions].values, 4*len(conditions)), flat([]uint32(conditions)))
}

// The machine is only worth its counts if it does what the kernel does.
func TestPrivilegedTheMachineSendsWhatTheKernelSends(t *testing.T) {
	h := newHarness(t)
	h.want(servicesOfModes(251)...)
	m := shippedMachine(t, servicesOfModes(251)...)
	for _, forward := range []dataplane.Forward{dataplane.IPIP, dataplane.GUE, dataplane.L2} {
		for _, f := range []flow{segment4, syn4, datagram4, segment6, {protocol: dataplane.UDP, v6: true}, {protocol: dataplane.UDP, port: 7}} {
			if f.port == 0 {
				f.port = portOf(forward)
			}
			verdict, err := m.run(f.frame())
			if err != nil {
				t.Fatal(err)
			}
			want := h.send(f.frame())
			if got := m.frame(); verdict != want.verdict || !bytes.Equal(got, want.frame) {
				t.Errorf("%s %+v: the machine says %d and\n%x\nthe kernel %d and\n%x", forward, f, verdict, got, want.verdict, want.frame)
			}
		}
	}
}

// Where a living flow is behind what has its digest and is no flow of anybody now,
// the first look does not find it.
func TestAnExpiredFlowHidesNoLivingOneOfItsDigest(t *testing.T) {
	m := (&path{packets: []flow{segment4}}).machine(t)
	m.unsettle(dataplane.TCP, dataplane.Moving)
	send := func(f flow) []byte {
		t.Helper()
		if _, err := m.run(f.frame()); err != nil {
			t.Fatal(err)
		}
		return m.frame()
	}
	send(syn4)
	remembered := send(segment4)
	bucket, living := m.onlyFlow(t)
	if bytes.Equal(remembered, send(segment4.from(50000))) {
		t.Fatal("a flow that nobody remembers goes the same way: this shows nothing")
	}
	const lastPlace, expiry = 7 * 8, 1<<14 - 1
	m.store(bucket+lastPlace, living&^expiry|1<<13, 8) // over for half of the circle
	m.store(bucket, living, 8)
	if !bytes.Equal(remembered, send(segment4)) {
		t.Error("the flow went elsewhere than before")
	}
}

// onlyFlow is the bucket of the one flow that is remembered, and its word.
func (m *machine) onlyFlow(t *testing.T) (bucket, word uint64) {
	t.Helper()
	held := m.maps[lbMapFlows]
	for at := held.values; at < held.values+uint64(held.value)*uint64(held.entries); at += 8 {
		if word := m.load(at, 8); word != 0 {
			return at &^ 63, word
		}
	}
	t.Fatal("no flow is remembered")
	return 0, 0
}
