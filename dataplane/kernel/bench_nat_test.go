package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/dataplane"
)

// emptyNAT is the empty program behind the driver of nat.
const emptyNAT = "empty-tx-nat"

// natMix is a world's families; its kind is the name that scenarios have it by.
type natMix struct {
	kind    string
	v6, to6 bool // of the VIP, of the backends
}

var benchMixes = []natMix{{"nat4", false, false}, {"nat6", true, true}, {"nat4to6", false, true}, {"nat6to4", true, false}}

func natMixOf(kind string) *natMix {
	if i := slices.IndexFunc(benchMixes, func(m natMix) bool { return m.kind == kind }); i >= 0 {
		return &benchMixes[i]
	}
	return nil
}

// natBackends share the ports of a million connections.
const natBackends = 100

func natService(mix *natMix) dataplane.Service {
	service := bigService("web", 0)
	service.NAT = true
	service.Backends = manyBackends(natBackends, mix.to6, dataplane.NAT)
	for i := range service.Backends {
		service.Backends[i].Port = natPort
	}
	return service
}

func isNAT(services []dataplane.Service) bool {
	return slices.ContainsFunc(services, func(s dataplane.Service) bool { return s.NAT })
}

// natScenarios have as many connections in a table as their names say, of twice as
// many places and 256 k at least. New ones come to these, and stay half open. That of
// 16 k is the first, because a test looks at the first world of each kind.
func natScenarios() (all []scenario) {
	add := func(what string, protocol dataplane.Protocol, mix *natMix, count string, bits int) {
		s := scenario{
			name:  fmt.Sprintf("nat-%s-%s%s-%s", what, protocol, strings.TrimPrefix(mix.kind, "nat"), count),
			world: fmt.Sprintf("%s-%d", mix.kind, bits), nat: mix,
			flow:     flow{protocol: protocol, v6: mix.v6, ack: protocol == dataplane.TCP},
			flowBits: bits, outcome: "FORWARD", against: emptyNAT,
		}
		switch what {
		case "reply":
			s.reply, s.outcome = true, "REPLY_BACKEND"
		case "new":
			s.flow.ack, s.flow.client, s.flowBits = false, 50000, millionBits
			s.inserts, s.before = true, (*benchWorld).forgetHalfOpen
		}
		all = append(all, s)
	}
	for _, what := range []string{"established", "reply", "new"} {
		for _, count := range []struct {
			name string
			bits int
		}{{"16k", 14}, {"1", 0}, {"512k", 19}, {"1M", 20}} {
			add(what, dataplane.TCP, &benchMixes[0], count.name, count.bits)
		}
		add(what, dataplane.UDP, &benchMixes[0], "16k", 14)
		for i := range benchMixes[1:] {
			add(what, dataplane.TCP, &benchMixes[i+1], "16k", 14)
		}
	}
	return all
}

// answer is what backends send: to whom, the driver fills in.
func (s *scenario) answer(tb testing.TB) []byte {
	from, to := backend4, source4
	if s.nat.to6 {
		from, to = backend6, source6
	}
	reply := talk{
		from: netip.AddrPortFrom(from, natPort), to: netip.AddrPortFrom(to, 0), protocol: s.flow.protocol,
		payload: string(make([]byte, 64)), macs: [2]string{string(nextHopMAC), string(egressMAC)},
	}
	if s.flow.protocol == dataplane.TCP {
		reply.flags = "A"
	}
	return reply.frame(tb)
}

// natDriver writes all headers anew and lets the frame begin where it did, since the
// program translates it in place. Each packet is of another connection: a client's has
// another source; who answers and to which port is in a list, or none.
func natDriver(tb testing.TB, program *ebpf.Program, flowBits int, frame []byte, answers *ebpf.Map) *ebpf.Program {
	tb.Helper()
	next, state := programArray(tb, program), driverState(tb)
	source, ports := int16(source4At), int16(14+20)
	if frame[etherTypeAt] != 8 {
		source, ports = source6At, 14+40
	}
	headers := ports + 24 // of TCP; less than UDP and its payload
	code := slices.Concat(chooseFlow(state, flowBits), frameHolds(0), asm.Instructions{
		asm.Sub.Reg(asm.R3, asm.R2),
		asm.Mov.Reg(asm.R2, asm.R3),
		asm.Sub.Imm(asm.R2, int32(len(frame))),
		asm.JEq.Imm(asm.R2, 0, "write"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnXdpAdjustHead.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("write"),
	}, frameHolds(int32(headers)))
	for at := int16(0); at+8 <= headers; at += 8 {
		code = append(code,
			asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(frame[at:])), asm.DWord),
			asm.StoreMem(asm.R2, at, asm.R1, asm.DWord),
		)
	}
	if answers == nil {
		code = append(code, asm.Mov.Reg(asm.R3, asm.R7), asm.StoreMem(asm.R2, source, asm.R3, asm.Word))
	} else {
		code = append(code,
			asm.LSh.Imm(asm.R7, 3),
			asm.LoadMapValue(asm.R1, answers.FD(), 0),
			asm.Add.Reg(asm.R1, asm.R7),
			asm.LoadMem(asm.R4, asm.R1, 4, asm.Half),
			asm.StoreMem(asm.R2, ports+2, asm.R4, asm.Half),
			asm.LoadMem(asm.R3, asm.R1, 0, asm.Word),
			asm.StoreMem(asm.R2, source, asm.R3, asm.Word),
		)
	}
	if source == source4At {
		code = append(code, sumAnew(frame)...)
	}
	return newProgram(tb, append(code, goOnWith(next)...))
}

// sumAnew writes the checksum of a frame's IPv4 header at R2, whose source has become
// what is in R3.
func sumAnew(frame []byte) asm.Instructions {
	const checksumAt = 14 + 10
	header := bytes.Clone(frame[14:34])
	copy(header[10:16], make([]byte, 6)) // the checksum and the source
	rest := uint32(0)
	for at := 0; at < len(header); at += 2 {
		rest += uint32(binary.NativeEndian.Uint16(header[at:]))
	}
	code := asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R3),
		asm.RSh.Imm(asm.R1, 16),
		asm.And.Imm(asm.R3, 0xffff),
		asm.And.Imm(asm.R1, 0xffff),
		asm.Add.Reg(asm.R3, asm.R1),
		asm.Add.Imm(asm.R3, int32(rest)),
	}
	for range 2 {
		code = append(code,
			asm.Mov.Reg(asm.R1, asm.R3),
			asm.RSh.Imm(asm.R1, 16),
			asm.And.Imm(asm.R3, 0xffff),
			asm.Add.Reg(asm.R3, asm.R1),
		)
	}
	return append(code, asm.Xor.Imm(asm.R3, 0xffff), asm.StoreMem(asm.R2, checksumAt, asm.R3, asm.Half))
}

// connect lets clients begin 2^bits connections of a protocol, unless they have, and
// marks them as used in both directions. What it returns is who answers each: four
// bytes of the backend's address, two of the port that it answers to, two of nothing.
func (w *benchWorld) connect(s *scenario) *ebpf.Map {
	w.t.Helper()
	if answers := w.answers[s.flow.protocol]; answers != nil {
		return answers
	}
	_, bits := kindOf(w.name)
	first := s.flow
	first.ack, first.client = false, 0
	driver := natDriver(w.t, w.plane.objects.PointsmanLb, bits, first.frame(), nil)
	if _, _, err := driver.Benchmark(first.frame(), 1<<bits, nil); err != nil {
		w.t.Fatal(err)
	}
	w.establish()
	var list []byte
	for c := range w.plane.Connections(monotonicSecond()) {
		if c.Protocol == s.flow.protocol && !c.HalfOpen {
			address := c.Backend.Addr().AsSlice()
			list = append(list, address[len(address)-4:]...)
			list = append(binary.BigEndian.AppendUint16(list, c.Source.Port()), 0, 0)
		}
	}
	if len(list) < 8<<bits*99/100 {
		w.t.Fatalf("%d connections of %d have begun", len(list)/8, 1<<bits)
	}
	for len(list) < 8<<bits { // some find no place
		list = append(list, list[:8]...)
	}
	answers, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8 << bits, MaxEntries: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { answers.Close() })
	if err := answers.Put(uint32(0), list); err != nil {
		w.t.Fatal(err)
	}
	w.answers[s.flow.protocol] = answers
	return answers
}

// establish lets half-open connections be what they would be after answers.
func (w *benchWorld) establish() {
	timeouts := w.tables.NAT.Timeouts
	w.eachHalfOpen(func(tag uint64) uint64 {
		state, seconds := lbConnectionStateCONNECTION_ESTABLISHED, timeouts.Established
		if tagState(tag) == lbConnectionStateCONNECTION_ONE_WAY {
			state, seconds = lbConnectionStateCONNECTION_STREAM, timeouts.UDP
		}
		return tag>>tagLifeBits<<tagLifeBits | uint64(state)<<tagExpiryBits | uint64(monotonicSecond()+seconds)
	})
}

// forgetHalfOpen frees their places, and leaves their ports to be found free.
func (w *benchWorld) forgetHalfOpen() {
	w.eachHalfOpen(func(tag uint64) uint64 {
		return tag >> tagLifeBits & (1<<tagGenerationBits - 1) << tagLifeBits
	})
}

func (w *benchWorld) eachHalfOpen(change func(tag uint64) uint64) {
	tags := w.plane.mapped.connections.tags
	for i, tag := range tags {
		if state := tagState(tag); state != lbConnectionStateCONNECTION_FREE && state <= lbConnectionStateCONNECTION_ANSWERED {
			tags[i] = change(tag)
		}
	}
}

func (w *benchWorld) halfOpen() (count uint64) {
	for c := range w.plane.Connections(monotonicSecond()) {
		if c.HalfOpen {
			count++
		}
	}
	return count
}
