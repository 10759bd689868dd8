package kernel

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/dataplane"
)

// The program under BPF_PROG_TEST_RUN, behind a driver that strips the last
// outer header and gives the packet the source address of another flow. What
// the driver costs is in the benchmark of the empty program too, which only
// grows the packet: judge by the ratio of the two.

func BenchmarkPrivilegedEmpty(b *testing.B) {
	needRoot(b)
	empty := newProgram(b, asm.Instructions{
		asm.Mov.Imm(asm.R2, -20),
		asm.FnXdpAdjustHead.Call(),
		asm.Mov.Imm(asm.R0, xdpTX),
		asm.Return(),
	})
	runDriven(b, empty, 0, flow{protocol: dataplane.TCP, ack: true})
}

func BenchmarkPrivilegedEstablishedTCP4OverIPIP(b *testing.B) {
	for name, bits := range map[string]int{"1": 0, "16k": 14, "16M": 24} {
		b.Run("flows="+name, func(b *testing.B) { benchSettled(b, bits, flow{protocol: dataplane.TCP, ack: true}) })
	}
}

func BenchmarkPrivilegedSYNOverIPIP(b *testing.B) {
	benchSettled(b, 24, flow{protocol: dataplane.TCP})
}

func BenchmarkPrivilegedNotForAVIP(b *testing.B) {
	benchSettled(b, 24, flow{protocol: dataplane.TCP, port: 81})
}

func benchSettled(b *testing.B, flowBits int, f flow) {
	needRoot(b)
	h := newHarness(b)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	runDriven(b, h.plane.objects.PointsmanLb, flowBits, f)
}

// runDriven reports the time of one packet, one of 2^flowBits flows at random.
func runDriven(b *testing.B, program *ebpf.Program, flowBits int, f flow) {
	b.Helper()
	driver := flowDriver(b, program, flowBits)
	const batch = 1 << 20
	var nanoseconds int64
	for b.Loop() {
		_, perPacket, err := driver.Benchmark(f.frame(b), batch, nil)
		if err != nil {
			b.Fatal(err)
		}
		nanoseconds += perPacket.Nanoseconds()
	}
	b.ReportMetric(float64(nanoseconds)/float64(b.N), "ns/packet")
	b.ReportMetric(0, "ns/op")
}

// flowDriver strips an outer IPv4 header if there is one, writes a random
// source address and goes on with program.
func flowDriver(tb testing.TB, program *ebpf.Program, flowBits int) *ebpf.Program {
	tb.Helper()
	next := programArray(tb, program)
	return newProgram(tb, asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetPrandomU32.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.And.Imm(asm.R7, 1<<flowBits-1),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 54),
		asm.JGT.Reg(asm.R4, asm.R3, "abort"),
		asm.LoadMem(asm.R4, asm.R2, 14+9, asm.Byte),
		asm.JNE.Imm(asm.R4, 4, "write"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 20),
		asm.FnXdpAdjustHead.Call(),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 54),
		asm.JGT.Reg(asm.R4, asm.R3, "abort"),
		asm.StoreImm(asm.R2, 12, 8, asm.Half),
		asm.StoreMem(asm.R2, 14+12, asm.R7, asm.Word).WithSymbol("write"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"),
		asm.Return(),
	})
}
