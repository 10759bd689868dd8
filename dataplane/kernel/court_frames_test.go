package kernel

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// markSize is that of the mark in front of a frame that was held.
const markSize = 8

// run gives a frame to the program, as it arrives: with metadata in front, which
// leaves the less room, and behind a program that fills the headroom, where that
// has room itself.
func (c *court) run(a oracle.Arrival) (verdict uint32, out []byte, err error) {
	if err := c.show(a.Second, c.plane); err != nil {
		return 0, nil, err
	}
	options := ebpf.RunOptions{Data: a.Frame, DataOut: c.received}
	metadata := c.headroom - a.Headroom
	if metadata > 0 || a.Interface != loopback {
		options.Data = append(c.mark(a.WasHeld)[:metadata:metadata], a.Frame...)
		options.Context = xdpContext{Data: uint32(metadata), DataEnd: uint32(len(options.Data)), IngressIfindex: a.Interface}
	}
	program := c.dirty
	if a.Headroom < dirtyBytes {
		program = c.plane.objects.PointsmanLb
	}
	if verdict, err = program.Run(&options); err != nil {
		return 0, nil, fmt.Errorf("running %x: %w", a.Frame, err)
	}
	return verdict, options.DataOut[metadata:], c.stood()
}

// mark is metadata, with or without the mark of frames that were held.
func (c *court) mark(wasHeld bool) []byte {
	mark := c.plane.heldMark
	if !wasHeld {
		mark ^= 1
	}
	binary.NativeEndian.PutUint64(c.metadata, mark)
	return c.metadata
}

// room is what is in front of a frame: as much as there should be, or all there is.
func (c *court) room(a oracle.Arrival) int {
	switch {
	case a.Headroom < wild.Plenty && a.Headroom >= c.cramped:
		return a.Headroom
	case a.WasHeld:
		return c.headroom - markSize
	}
	return c.headroom
}

// measureHeadroom tells how many bytes BPF_PROG_TEST_RUN leaves in front of a
// frame, and how many of them it lets be metadata.
func measureHeadroom(t testing.TB) (headroom, metadata int) {
	t.Helper()
	const step, most = 4, 256
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1), asm.Mov.Imm(asm.R7, 0)}
	for range most / step {
		code = append(code,
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, -step),
			asm.FnXdpAdjustHead.Call(),
			asm.JNE.Imm(asm.R0, 0, "full"),
			asm.Add.Imm(asm.R7, step),
		)
	}
	program := newProgram(t, append(code, asm.Mov.Reg(asm.R0, asm.R7).WithSymbol("full"), asm.Return()))
	frame := make([]byte, 64)
	room, err := program.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		t.Fatal(err)
	}
	for size := step; size <= int(room); size += step {
		context := xdpContext{Data: uint32(size), DataEnd: uint32(size + len(frame)), IngressIfindex: loopback}
		if _, err := program.Run(&ebpf.RunOptions{Data: make([]byte, size+len(frame)), Context: context}); err != nil {
			break
		}
		metadata = size
	}
	return int(room), metadata
}
