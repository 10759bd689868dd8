package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/pointsman/pointsman/dataplane"
)

// harness runs the shipped program on packets, behind a small one that fills
// the headroom with 0xff: BPF_PROG_TEST_RUN hands out zeroed headroom, which
// would hide a forgotten byte of an outer header.
type harness struct {
	t      testing.TB
	plane  *DataPlane
	tables *dataplane.Tables
	wanted dataplane.State // last
	dirty  *ebpf.Program
}

// XDP verdicts, as enum xdp_action of linux/bpf.h.
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

// loopback is where BPF_PROG_TEST_RUN lets packets arrive.
const loopback = 1

var testLimits = dataplane.Limits{Services: 32, VIPs: 512, Backends: 64}

func newHarness(t testing.TB) *harness {
	t.Helper()
	return harnessOn(t, openTest(t, pinDir(t), 4096))
}

func harnessOn(t testing.TB, plane *DataPlane) *harness {
	t.Helper()
	tables, err := plane.Tables()
	if err != nil {
		t.Fatal(err)
	}
	return &harness{t: t, plane: plane, tables: tables, dirty: dirtyHeadroom(t, plane.objects.PointsmanLb)}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: loads BPF programs")
	}
}

// pinDir is a folder for pins of one test, gone when the test is over.
func pinDir(t testing.TB) string {
	t.Helper()
	needRoot(t)
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("pointsman-test-%d", os.Getpid()))
	t.Cleanup(func() {
		if _, err := Detach(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openTest(t testing.TB, dir string, slots uint32) *DataPlane {
	t.Helper()
	plane, err := Open(Options{PinDir: dir, Secret: 42, Limits: testLimits, Slots: slots, Flows: 4096})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	return plane
}

// apply takes the steps as the control plane would.
func (h *harness) apply(steps ...dataplane.Step) {
	h.t.Helper()
	if err := dataplane.Apply(h.tables, steps, h.plane); err != nil {
		h.t.Fatal(err)
	}
}

// want makes the kernel hold these services.
func (h *harness) want(services ...dataplane.Service) {
	h.t.Helper()
	h.wanted = dataplane.State{Services: services, NAT: dataplane.DefaultNATSettings()}
	steps, problems := dataplane.Diff(h.tables, h.wanted)
	if len(problems) > 0 {
		h.t.Fatal(problems)
	}
	h.apply(steps...)
}

// result is what became of one packet. Moved holds the counters that changed:
// outcomes by name, backends as "backend 1".
type result struct {
	verdict uint32
	frame   []byte
	moved   map[string]uint64
}

func (h *harness) send(frame []byte) result {
	h.t.Helper()
	before := h.counters()
	options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	verdict, err := h.dirty.Run(&options)
	if err != nil {
		h.t.Fatal(err)
	}
	if verdict == xdpTX || verdict == xdpRedirect {
		noteCrossing(h.t, frame, options.DataOut)
	}
	moved := h.counters()
	for name, count := range before {
		moved[name] -= count
	}
	maps.DeleteFunc(moved, func(_ string, count uint64) bool { return count == 0 })
	return result{verdict, options.DataOut, moved}
}

// expect checks the verdict, the bytes and that exactly one counter moved, by one.
func expect(t *testing.T, got result, verdict uint32, frame []byte, counter string) {
	t.Helper()
	if got.verdict != verdict {
		t.Errorf("verdict is %d, want %d", got.verdict, verdict)
	}
	if !bytes.Equal(got.frame, frame) {
		t.Errorf("the frame is\n%x, want\n%x", got.frame, frame)
	}
	if want := map[string]uint64{counter: 1}; !maps.Equal(got.moved, want) {
		t.Errorf("counters moved by %v, want %v", got.moved, want)
	}
}

// turnClock lets the program's clock show so many seconds more than the machine's.
func (h *harness) turnClock(seconds uint32) {
	h.t.Helper()
	if err := h.plane.objects.ClockSkewSeconds.Set(seconds); err != nil {
		h.t.Fatal(err)
	}
}

// run is send without a look at the counters, for very many packets.
func (h *harness) run(frame []byte) []byte {
	h.t.Helper()
	options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	if _, err := h.dirty.Run(&options); err != nil {
		h.t.Fatal(err)
	}
	return options.DataOut
}

func (h *harness) counters() map[string]uint64 {
	h.t.Helper()
	counters, err := h.plane.Counters()
	if err != nil {
		h.t.Fatal(err)
	}
	packets := maps.Clone(counters.Outcomes)
	delete(packets, "FORWARD") // the sum of the backends
	for index, backend := range counters.Backends {
		packets[fmt.Sprintf("backend %d", index)] = backend.Packets
	}
	return packets
}

// dirtyBytes is what a program needs in front of a packet at most.
const dirtyBytes = 64

// dirtyHeadroom is a program that fills so many bytes before the packet with
// 0xff and goes on with program.
func dirtyHeadroom(tb testing.TB, program *ebpf.Program) *ebpf.Program {
	tb.Helper()
	const size = dirtyBytes
	next := programArray(tb, program)
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R2, -size),
		asm.FnXdpAdjustHead.Call(),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, size),
		asm.JGT.Reg(asm.R4, asm.R3, "abort"),
		asm.Mov.Imm(asm.R5, -1),
	}
	for offset := int16(0); offset < size; offset += 8 {
		code = append(code, asm.StoreMem(asm.R2, offset, asm.R5, asm.DWord))
	}
	return newProgram(tb, append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, size),
		asm.FnXdpAdjustHead.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"),
		asm.Return(),
	))
}

// programArray holds one program to go on with by a tail call.
func programArray(tb testing.TB, program *ebpf.Program) *ebpf.Map {
	tb.Helper()
	next, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { next.Close() })
	if err := next.Put(uint32(0), program); err != nil {
		tb.Fatal(err)
	}
	return next
}

func newProgram(tb testing.TB, code asm.Instructions) *ebpf.Program {
	tb.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Instructions: code, License: "Dual BSD/GPL",
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { program.Close() })
	return program
}

// inNamespace runs the rest of the test in a network namespace of its own with
// a second interface, and returns that one's index.
func inNamespace(t testing.TB) uint32 {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { namespace.Close() })
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "egress0"}, PeerName: "egress1"}
	loop, err := netlink.LinkByName("lo")
	if err := errors.Join(err, netlink.LinkSetUp(loop), netlink.LinkAdd(pair), netlink.LinkSetUp(pair)); err != nil {
		t.Fatal(err)
	}
	egress, err := netlink.LinkByName("egress0")
	if err != nil {
		t.Fatal(err)
	}
	return uint32(egress.Attrs().Index)
}
