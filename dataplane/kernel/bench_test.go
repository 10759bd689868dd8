package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/dataplane"
)

// The program under BPF_PROG_TEST_RUN, behind a driver that strips the last
// outer header and gives the packet the source address of another flow. What
// the driver costs is in the benchmark of the empty program too, which only
// grows the packet: judge by the ratio of the two.

var benchLimits = dataplane.Limits{Services: 16, VIPs: 1 << 15, Backends: 64}

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

func BenchmarkPrivilegedSettled(b *testing.B) {
	segment, segment6 := flow{protocol: dataplane.TCP, ack: true}, flow{protocol: dataplane.TCP, ack: true, v6: true}
	ipip := backendTo(backend4, dataplane.IPIP, loopback)
	for _, row := range []struct {
		name     string
		flowBits int
		flow     flow
		backend  dataplane.Backend
	}{
		{"established-tcp4-ipip-1", 0, segment, ipip},
		{"established-tcp4-ipip-16k", 14, segment, ipip},
		{"established-tcp4-ipip-16M", 24, segment, ipip},
		{"established-tcp6-ipip6-16M", 24, segment6, backendTo(backend6, dataplane.IPIP, loopback)},
		{"established-tcp4-gue4-16M", 24, segment, backendTo(backend4, dataplane.GUE, loopback)},
		{"established-tcp6-gue6-16M", 24, segment6, backendTo(backend6, dataplane.GUE, loopback)},
		{"syn-tcp4-ipip-16M", 24, flow{protocol: dataplane.TCP}, ipip},
		{"udp4-ipip-16M", 24, flow{protocol: dataplane.UDP}, ipip},
		{"pass-notvip", 24, flow{protocol: dataplane.TCP, port: 81}, ipip},
	} {
		b.Run(row.name, func(b *testing.B) {
			runDriven(b, benchPlane(b, row.backend).plane.objects.PointsmanLb, row.flowBits, row.flow)
		})
	}
}

// A million flows in a table of four: all slots are moving, and their fallback is
// their owner, so that every packet takes the same way out.
func BenchmarkPrivilegedMoving(b *testing.B) {
	const flowBits = 20
	syn, segment := flow{protocol: dataplane.TCP}, flow{protocol: dataplane.TCP, ack: true}
	b.Run("insert", func(b *testing.B) { runDriven(b, benchMoving(b), flowBits, syn) })
	b.Run("miss", func(b *testing.B) { runDriven(b, benchMoving(b), flowBits, segment) })
	b.Run("hit", func(b *testing.B) {
		program := benchMoving(b)
		driver := flowDriver(b, program, flowBits, syn)
		if _, _, err := driver.Benchmark(syn.frame(b), 8<<flowBits, nil); err != nil {
			b.Fatal(err)
		}
		runDriven(b, program, flowBits, segment)
	})
}

// scattered are IPv4 destinations: base, and the bits of mask at random.
type scattered struct{ base, mask uint32 }

// Wide VIPs are every other /28 of a range of addresses, so that a packet to one
// of the others has the longest way to nothing.
func BenchmarkPrivilegedWide(b *testing.B) {
	const first = 100<<24 | 64<<16
	segment := flow{protocol: dataplane.TCP, ack: true}
	for _, count := range []int{0, 1, 128, 8192} {
		h := benchPlane(b, backendTo(backend4, dataplane.IPIP, loopback))
		service := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
		service.Slots = 65537
		for i := range count {
			vip := dataplane.VIP{Addr: netip.AddrFrom4([4]byte{100, byte(64 + i>>11), byte(i >> 3), byte(i << 5)}), Protocol: dataplane.TCP}
			vip.Wide = dataplane.Wide{HostBits: 4, LastPort: dataplane.LastOfAnyPort}
			service.VIPs = append(service.VIPs, vip)
		}
		h.want(service)
		hosts := uint32(max(count, 1)*32 - 1)
		for _, row := range []struct {
			name string
			port uint16
			to   scattered
		}{
			{"exact", 0, scattered{}},
			{"wide", 0, scattered{first, hosts &^ 16}},
			{"pass-another-address", 0, scattered{198<<24 | 18<<16, hosts}},
			{"pass-between-prefixes", 0, scattered{first | 16, hosts}},
		} {
			if row.name == "wide" && count == 0 {
				continue
			}
			b.Run(fmt.Sprintf("%s-%d", row.name, count), func(b *testing.B) {
				f := segment
				f.port, f.to = row.port, row.to
				runDriven(b, h.plane.objects.PointsmanLb, 20, f)
			})
		}
		h.plane.Close()
		if _, err := Detach(h.plane.pins.dir); err != nil {
			b.Fatal(err)
		}
	}
}

// benchPlane has one service of the default size and one backend.
func benchPlane(b *testing.B, backend dataplane.Backend) *harness {
	dir := pinDir(b)
	plane, err := Open(Options{PinDir: dir, Secret: 42, Limits: benchLimits, Slots: 1 << 17, Flows: 1 << 22})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { plane.Close() })
	h := harnessOn(b, plane)
	service := serviceOn("web", backend)
	service.Slots = 65537
	h.want(service)
	return h
}

func benchMoving(b *testing.B) *ebpf.Program {
	h := benchPlane(b, backendTo(backend4, dataplane.IPIP, loopback))
	for vip, entry := range h.tables.VIPs {
		entry.Unsettled = true
		h.apply(dataplane.PutVIP{VIP: vip, Entry: entry})
	}
	for slot, owner := range h.tables.Slots {
		h.tables.Conditions.Put(uint32(slot), dataplane.TCP, dataplane.Condition{Phase: dataplane.Moving, Fallback: owner})
	}
	return h.plane.objects.PointsmanLb
}

// runDriven reports the time of one packet, one of 2^flowBits flows at random.
func runDriven(b *testing.B, program *ebpf.Program, flowBits int, f flow) {
	b.Helper()
	driver := flowDriver(b, program, flowBits, f)
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

// flowDriver strips what the frame has grown by, writes a random source address
// and goes on with program.
func flowDriver(tb testing.TB, program *ebpf.Program, flowBits int, f flow) *ebpf.Program {
	tb.Helper()
	next := programArray(tb, program)
	headers, source, etherType := int32(14+20), int16(14+12), int64(8)
	if f.v6 {
		headers, source, etherType = 14+40, 14+8+12, 0xdd86
	}
	load := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, headers),
		asm.JGT.Reg(asm.R4, asm.R3, "abort"),
	}
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnGetPrandomU32.Call(),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.And.Imm(asm.R7, 1<<flowBits-1),
	}
	code = append(append(code, load...),
		asm.Sub.Reg(asm.R3, asm.R2),
		asm.Sub.Imm(asm.R3, int32(len(f.frame(tb)))),
		asm.JEq.Imm(asm.R3, 0, "write"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.FnXdpAdjustHead.Call(),
	)
	code = append(append(code, load...),
		asm.StoreImm(asm.R2, 12, etherType, asm.Half),
		asm.StoreMem(asm.R2, source, asm.R7, asm.Word).WithSymbol("write"),
	)
	if f.to != (scattered{}) {
		code = append(code,
			asm.FnGetPrandomU32.Call(),
			asm.And.Imm(asm.R0, int32(f.to.mask)),
			asm.Or.Imm(asm.R0, int32(f.to.base)),
			asm.HostTo(asm.BE, asm.R0, asm.Word),
		)
		code = append(append(code, load...), asm.StoreMem(asm.R2, source+4, asm.R0, asm.Word))
	}
	code = append(code,
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, next.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("abort"),
		asm.Return(),
	)
	return newProgram(tb, code)
}

// What is dropped for want of a backend, while nobody watches and while somebody
// does: then most are only counted.
func BenchmarkPrivilegedDropped(b *testing.B) {
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched-%v", watched), func(b *testing.B) {
			h := benchPlane(b, backendTo(backend4, dataplane.IPIP, loopback))
			dead := serviceOn("web")
			dead.Slots = 65537
			h.want(dead)
			drops, err := h.plane.WatchDrops()
			if err != nil {
				b.Fatal(err)
			}
			defer drops.Close()
			if err := drops.Watch(watched); err != nil {
				b.Fatal(err)
			}
			runDriven(b, h.plane.objects.PointsmanLb, 20, flow{protocol: dataplane.TCP, ack: true})
		})
	}
}
