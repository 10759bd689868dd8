package kernel

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// scattered are IPv4 destinations: base, and the bits of mask at random.
type scattered struct{ base, mask uint32 }

// Offsets in a frame without tags or options.
const (
	etherTypeAt = 12
	source4At   = 14 + 12
	source6At   = 14 + 8 + 12 // of its last word
)

// flowDriver strips what the frame has grown by on the program's last run, writes
// the source address of another flow and goes on with program. It goes through
// 2^flowBits flows in an order without a pattern, and each comes once before any
// comes again: the low bits of x·a + c mod 2^32, with a and c as in Knuth, TAOCP
// volume 2, section 3.2.1.2, theorem A.
func flowDriver(tb testing.TB, program *ebpf.Program, flowBits int, f flow) *ebpf.Program {
	tb.Helper()
	next, state := programArray(tb, program), driverState(tb)
	headers, source, etherType := int32(14+20), int16(source4At), int64(0x0008)
	if f.v6 {
		headers, source, etherType = 14+40, source6At, 0xdd86
	}
	bounds := frameHolds(headers)
	code := chooseFlow(state, flowBits)
	code = append(append(code, bounds...),
		asm.Sub.Reg(asm.R3, asm.R2),
		asm.Sub.Imm(asm.R3, int32(len(f.frame()))),
		asm.JEq.Imm(asm.R3, 0, "write"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.FnXdpAdjustHead.Call(),
	)
	code = append(append(code, bounds...),
		asm.StoreImm(asm.R2, etherTypeAt, etherType, asm.Half),
		asm.StoreMem(asm.R2, source, asm.R7, asm.Word).WithSymbol("write"),
	)
	if f.to != (scattered{}) {
		code = append(code,
			asm.RSh.Imm(asm.R8, 8),
			asm.And.Imm(asm.R8, int32(f.to.mask)),
			asm.Or.Imm(asm.R8, int32(f.to.base)),
			asm.HostTo(asm.BE, asm.R8, asm.Word),
			asm.StoreMem(asm.R2, source+4, asm.R8, asm.Word),
		)
	}
	return newProgram(tb, append(code, goOnWith(next)...))
}

// chooseFlow is how a driver begins: the context to R6, the next flow's number to R7
// and the number that it is a part of to R8.
func chooseFlow(state *ebpf.Map, flowBits int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMapValue(asm.R1, state.FD(), 0),
		asm.LoadMem(asm.R8, asm.R1, 0, asm.Word),
		asm.Mul.Imm32(asm.R8, 1664525),
		asm.Add.Imm32(asm.R8, 1013904223),
		asm.StoreMem(asm.R1, 0, asm.R8, asm.Word),
		asm.Mov.Reg(asm.R7, asm.R8),
		asm.And.Imm(asm.R7, 1<<flowBits-1),
	}
}

// frameHolds reads where the frame begins, to R2, and ends, to R3.
func frameHolds(bytes int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, bytes),
		asm.JGT.Reg(asm.R4, asm.R3, "abort"),
	}
}

// goOnWith is how a driver ends, be it by a jump to abort.
func goOnWith(next *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"),
		asm.Return(),
	}
}

// driverState is where a driver keeps the number of its last flow.
func driverState(tb testing.TB) *ebpf.Map {
	tb.Helper()
	state, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { state.Close() })
	return state
}

// The programs that do nothing: one passes the packet, the other grows it as IPIP
// does and sends it.
var emptyPrograms = map[string]asm.Instructions{
	"pass": {asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	"tx": {
		asm.Mov.Imm(asm.R2, -20),
		asm.FnXdpAdjustHead.Call(),
		asm.Mov.Imm(asm.R0, xdpTX),
		asm.Return(),
	},
}
