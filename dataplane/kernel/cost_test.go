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

// paths are what packets meet. Those before the last prepare the way.
var paths = []struct {
	name    string
	service func(*dataplane.Service)
	phase   dataplane.Phase
	packets []flow
}{
	{name: "established-tcp4-ipip", packets: []flow{segment4}},
	{name: "syn-tcp4-ipip", packets: []flow{syn4}},
	{name: "udp4-ipip", packets: []flow{datagram4}},
	{name: "established-tcp6-ipip", packets: []flow{segment6}},
	{name: "udp6-ipip", packets: []flow{{protocol: dataplane.UDP, v6: true}}},
	{name: "established-tcp4-gue", service: by(dataplane.GUE), packets: []flow{segment4}},
	{name: "established-tcp6-gue", service: by(dataplane.GUE), packets: []flow{segment6}},
	{name: "established-tcp4-l2", service: by(dataplane.L2), packets: []flow{segment4}},
	{name: "established-tcp4-redirect", service: byAnotherInterface, packets: []flow{segment4}},
	{name: "client-affinity-tcp4", service: func(s *dataplane.Service) { s.AffinityClient = true }, packets: []flow{segment4}},
	{name: "pass-notvip", packets: []flow{segment4.at(7)}},
	{name: "pass-notvip6", packets: []flow{segment6.at(7)}},
	{name: "moving-insert", phase: dataplane.Moving, packets: []flow{syn4}},
	{name: "moving-hit", phase: dataplane.Moving, packets: []flow{syn4, segment4, segment4}},
	{name: "moving-miss", phase: dataplane.Moving, packets: []flow{segment4, segment4}},
	{name: "settling-miss", phase: dataplane.Settling, packets: []flow{segment4, segment4}},
	{name: "learning-insert", phase: dataplane.Learning, packets: []flow{datagram4}},
	{name: "learning-hit", phase: dataplane.Learning, packets: []flow{datagram4, datagram4}},
	{name: "always-insert", service: always, packets: []flow{syn4}},
	{name: "always-hit", service: always, packets: []flow{syn4, segment4, segment4}},
}

func always(s *dataplane.Service) { s.Tracking = dataplane.TrackAlways }

func by(forward dataplane.Forward) func(*dataplane.Service) {
	return func(s *dataplane.Service) {
		for i := range s.Backends {
			s.Backends[i].Forward = forward
		}
	}
}

func byAnotherInterface(s *dataplane.Service) {
	for i := range s.Backends {
		s.Backends[i].Hop.Interface = loopback + 1
	}
}

// The guard of the fast path's cost. It times nothing: it counts what the shipped
// program does for a packet. Who makes it worse has to commit the greater number.
func TestAPacketCostsWhatIsCommitted(t *testing.T) {
	var text strings.Builder
	text.WriteString("# What a packet costs: instructions of the shipped program, helpers and maps in the order of calls,\n" +
		"# cache lines of each map. Written by: go test ./dataplane/kernel -run TestAPacketCosts -update\n")
	for _, p := range paths {
		cost, _, err := pathCost(t, p.service, p.phase, p.packets)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		fmt.Fprintf(&text, "%-26s %4d instructions; %s; %s\n", p.name, cost.instructions, strings.Join(cost.calls, " "), touched(cost))
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

// pathCost is the cost of the last packet, and what became of it.
func pathCost(t testing.TB, change func(*dataplane.Service), phase dataplane.Phase, packets []flow) (cost, []byte, error) {
	t.Helper()
	m := shippedMachine(t, pathServices(change, packets[0].v6)...)
	if phase != dataplane.Settled {
		m.unsettle(packets[0].protocol, phase)
	}
	for _, f := range packets {
		if _, err := m.run(f.frame()); err != nil {
			return cost{}, nil, err
		}
	}
	return m.cost, m.frame(), nil
}

func pathServices(change func(*dataplane.Service), v6 bool) []dataplane.Service {
	service := serviceOn("web", manyBackends(2, v6, dataplane.IPIP)...)
	if change != nil {
		change(&service)
	}
	return []dataplane.Service{service}
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
	m := shippedMachine(t, pathServices(nil, false)...)
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
