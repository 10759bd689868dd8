package main

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/test/packet"
)

// Verdicts of linux/bpf.h and linux/pkt_cls.h.
const (
	xdpPass, xdpTX = 2, 3
	tcPass, tcShot = -1, 2
)

// words are what a program and this process share: one value of an array.
func words(count uint32) (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8 * count, MaxEntries: 1})
}

// load loads a program under a name by which /proc and bpftool show it.
func load(kind ebpf.ProgramType, name string, code asm.Instructions) (*ebpf.Program, error) {
	spec := &ebpf.ProgramSpec{Name: name, Type: kind, Instructions: code, License: "Dual BSD/GPL"}
	if kind == ebpf.XDP {
		spec.AttachType = ebpf.AttachXDP
	}
	program, err := ebpf.NewProgram(spec)
	if err != nil {
		return nil, fmt.Errorf("loading program %s: %w", name, err)
	}
	return program, nil
}

// needs ends the program with a verdict unless the frame has so many bytes, and has
// R2 at its first. The context is in R6.
func needs(size int, verdict int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, int32(size)),
		asm.Mov.Imm(asm.R0, verdict),
		asm.JGT.Reg(asm.R4, asm.R3, "end"),
	}
}

// complete stores the checksum at a place: what is in the register is a sum.
func complete(sum asm.Register, at int16) asm.Instructions {
	var code asm.Instructions
	for range 2 {
		code = append(code,
			asm.Mov.Reg(asm.R0, sum),
			asm.RSh.Imm(asm.R0, 16),
			asm.And.Imm(sum, 0xffff),
			asm.Add.Reg(sum, asm.R0),
		)
	}
	return append(code, asm.Xor.Imm(sum, 0xffff), asm.StoreMem(asm.R2, at, sum, asm.Half))
}

// What a sender shares: the number that the last flow's is a part of, and how many
// frames it has sent.
const senderWords = 2

// senderProgram writes all headers of a frame, which may have been changed where it
// was last, as the next flow's, and sends it out of an interface.
func (k kind) senderProgram(frame []byte, state *ebpf.Map, ifindex int) (*ebpf.Program, error) {
	header, segment := k.sums(frame)
	network, mask := senders()
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	code = append(append(code, needs(len(frame), 1)...),
		asm.LoadMapValue(asm.R1, state.FD(), 0),
		asm.LoadMem(asm.R8, asm.R1, 0, asm.Word),
		// Knuth, TAOCP volume 2, section 3.2.1.2, theorem A: the low bits go through all flows.
		asm.Mul.Imm32(asm.R8, 1664525),
		asm.Add.Imm32(asm.R8, 1013904223),
		asm.StoreMem(asm.R1, 0, asm.R8, asm.Word),
		asm.LoadMem(asm.R0, asm.R1, 8, asm.DWord),
		asm.Add.Imm(asm.R0, 1),
		asm.StoreMem(asm.R1, 8, asm.R0, asm.DWord),
		asm.And.Imm(asm.R8, 1<<k.flowBits-1),
	)
	for at := 0; at+8 <= segmentSumAt+6; at += 8 {
		code = append(code,
			asm.LoadImm(asm.R1, int64(binary.NativeEndian.Uint64(frame[at:])), asm.DWord),
			asm.StoreMem(asm.R2, int16(at), asm.R1, asm.DWord),
		)
	}
	code = append(code,
		// The port follows from the flow's number as if by chance, from 1024 on.
		asm.Mov.Reg32(asm.R7, asm.R8),
		asm.Mul.Imm32(asm.R7, -1640531535), // 2^32 by the golden ratio
		asm.RSh.Imm32(asm.R7, 17),
		asm.Add.Imm(asm.R7, 1024),
		asm.HostTo(asm.BE, asm.R7, asm.Half),
		asm.StoreMem(asm.R2, sourcePortAt, asm.R7, asm.Half),
		asm.And.Imm(asm.R8, int32(^mask)),
		asm.Add.Imm32(asm.R8, int32(network)),
		asm.HostTo(asm.BE, asm.R8, asm.Word),
		asm.StoreMem(asm.R2, sourceAt, asm.R8, asm.Word),
		asm.Mov.Reg(asm.R5, asm.R8),
		asm.And.Imm(asm.R5, 0xffff),
		asm.RSh.Imm(asm.R8, 16),
		asm.Add.Reg(asm.R5, asm.R8),
		asm.Add.Reg(asm.R7, asm.R5),
		asm.Add.Imm(asm.R5, int32(header)),
		asm.Add.Imm(asm.R7, int32(segment)),
	)
	code = append(code, complete(asm.R5, headerSumAt)...)
	code = append(code, complete(asm.R7, int16(k.sumAt()))...)
	return load(ebpf.XDP, "live_send", append(code,
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return().WithSymbol("end"),
	))
}

// reflectorProgram answers frames to either port by themselves: ends are swapped, and a
// SYN becomes a SYN-ACK.
func reflectorProgram() (*ebpf.Program, error) {
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	code = append(append(code, needs(segmentSumAt+2, xdpPass)...),
		asm.LoadMem(asm.R1, asm.R2, etherTypeAt, asm.Half),
		asm.JNE.Imm(asm.R1, int32(network16(packet.TypeIPv4)), "end"),
		asm.LoadMem(asm.R1, asm.R2, destinationPortAt, asm.Half),
		asm.JEq.Imm(asm.R1, int32(network16(framePort)), "reflect"),
		asm.JNE.Imm(asm.R1, int32(network16(reflectPort)), "end"),
		asm.Mov.Imm(asm.R0, xdpTX).WithSymbol("reflect"),
	)
	swap := func(one, other int16, size asm.Size) {
		code = append(code,
			asm.LoadMem(asm.R3, asm.R2, one, size), asm.LoadMem(asm.R4, asm.R2, other, size),
			asm.StoreMem(asm.R2, one, asm.R4, size), asm.StoreMem(asm.R2, other, asm.R3, size),
		)
	}
	swap(0, 6, asm.Word)
	swap(4, 10, asm.Half)
	swap(sourceAt, destinationAt, asm.Word)
	swap(sourcePortAt, destinationPortAt, asm.Half)
	code = append(code,
		asm.LoadMem(asm.R1, asm.R2, protocolAt, asm.Byte),
		asm.JNE.Imm(asm.R1, packet.TCPIP, "end"),
	)
	swap(sequenceAt, acknowledgementAt, asm.Word)
	code = append(code,
		asm.LoadMem(asm.R1, asm.R2, flagsAt, asm.Byte),
		asm.JNE.Imm(asm.R1, packet.SYN, "end"),
		asm.StoreImm(asm.R2, flagsAt, packet.SYN|packet.ACK, asm.Byte),
		asm.StoreImm(asm.R2, acknowledgementAt, int64(int32(bits.ReverseBytes32(firstSequence+1))), asm.Word),
		// RFC 1624, equation 3, of both changes.
		asm.LoadMem(asm.R7, asm.R2, segmentSumAt, asm.Half),
		asm.Xor.Imm(asm.R7, 0xffff),
		asm.Add.Imm(asm.R7, int32(network16(packet.ACK+1))),
	)
	code = append(code, complete(asm.R7, segmentSumAt)...)
	return load(ebpf.XDP, "live_reflect", append(code,
		asm.Mov.Imm(asm.R0, xdpTX),
		asm.Return().WithSymbol("end"),
	))
}

// bouncerProgram sends frames to the VIP on to a MAC, and what comes from there to
// another, and does nothing else.
func bouncerProgram(from, there, back packet.MAC) (*ebpf.Program, error) {
	address := vip.As4()
	theVIP := int32(binary.NativeEndian.Uint32(address[:]))
	code := asm.Instructions{asm.Mov.Reg(asm.R6, asm.R1)}
	code = append(append(code, needs(sourcePortAt, xdpPass)...),
		asm.LoadMem(asm.R1, asm.R2, etherTypeAt, asm.Half),
		asm.JNE.Imm(asm.R1, int32(network16(packet.TypeIPv4)), "end"),
		asm.LoadMem(asm.R1, asm.R2, destinationAt, asm.Word),
		asm.JEq.Imm32(asm.R1, theVIP, "there"),
		asm.LoadMem(asm.R1, asm.R2, sourceAt, asm.Word),
		asm.JNE.Imm32(asm.R1, theVIP, "end"),
	)
	send := func(to packet.MAC) (send asm.Instructions) {
		macs := append(to[:], from[:]...)
		for at := 0; at < len(macs); at += 2 {
			send = append(send, asm.StoreImm(asm.R2, int16(at), int64(binary.NativeEndian.Uint16(macs[at:])), asm.Half))
		}
		return append(send, asm.Mov.Imm(asm.R0, xdpTX))
	}
	code = append(append(code, send(back)...), asm.Ja.Label("end"))
	toBackend := send(there)
	toBackend[0] = toBackend[0].WithSymbol("there")
	return load(ebpf.XDP, "live_bounce", append(append(code, toBackend...), asm.Return().WithSymbol("end")))
}

// counterProgram counts and ends what comes from senders to the VIP, or back. It is
// one of tc, so that it sees what another one of XDP has taken out of a tunnel.
func counterProgram(count *ebpf.Map) (*ebpf.Program, error) {
	network, mask := senders()
	address := vip.As4()
	theVIP := int32(binary.BigEndian.Uint32(address[:]))
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadAbs(etherTypeAt, asm.Half),
		asm.JNE.Imm(asm.R0, packet.TypeIPv4, "pass"),
		asm.LoadAbs(sourceAt, asm.Word),
		asm.Mov.Reg32(asm.R7, asm.R0),
		asm.LoadAbs(destinationAt, asm.Word),
		asm.Mov.Reg32(asm.R8, asm.R0),
		asm.JEq.Imm32(asm.R8, theVIP, "of"),
		asm.JNE.Imm32(asm.R7, theVIP, "pass"),
		asm.Mov.Reg32(asm.R7, asm.R8),
		asm.And.Imm32(asm.R7, int32(mask)).WithSymbol("of"),
		asm.JNE.Imm32(asm.R7, int32(network), "pass"),
		asm.LoadMapValue(asm.R1, count.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, tcShot),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcPass).WithSymbol("pass"),
		asm.Return(),
	}
	return load(ebpf.SchedCLS, "live_count", code)
}

// network16 is a number as it lies in a packet, read by this machine.
func network16(number uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, number))
}
