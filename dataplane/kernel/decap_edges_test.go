package kernel

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

// Of TCP zero is a sum like any other (RFC 9293, section 3.1): in a segment, and in one
// that an error quotes.
func TestPrivilegedDecapTakesZeroForASumOfTCP(t *testing.T) {
	b := newDecapBench(t)
	ask := func(port uint16, payload []byte) []byte {
		return askOfVIP(false, packet.TCPIP).Packet(packet.TCP(mappedClient, port, packet.ACK, nil, payload))
	}
	quoting := func(port uint16, payload []byte) []byte {
		sent := answerOfVIP(false, packet.TCPIP).Packet(packet.TCP(port, mappedClient, packet.ACK, nil, payload))
		return askOfVIP(false, packet.ICMP).Packet(packet.Message(3, 3, 0, sent))
	}
	for _, port := range []uint16{onlyVIPPort, onlyLocal} {
		payload := make([]byte, 2)
		for n := 0; ; n++ {
			binary.BigEndian.PutUint16(payload, uint16(n))
			if segment := ask(port, payload)[20:]; segment[16] == 0 && segment[17] == 0 {
				break
			}
			if n == 0xffff {
				t.Fatal("no segment has such a sum")
			}
		}
		for _, build := range []func(uint16, []byte) []byte{ask, quoting} {
			b.check(t, decapFrame(decapOuter(false, 0, build(onlyVIPPort, payload))), "DECAPSULATE", decapFrame(build(onlyLocal, payload)))
		}
	}
}

// A length of nothing but headers is what a packet has that is not cut up yet; here no
// sum is behind them.
func TestPrivilegedDecapDropsWhatItCannotMap(t *testing.T) {
	b := newDecapBench(t)
	short := func(ip packet.IP, from, to uint16) []byte {
		cut := slices.Clone(ip.Packet(packet.TCP(from, to, packet.ACK, nil, nil))[:28])
		cut[3] = 20
		decapSum(cut)
		return cut
	}
	b.check(t, decapFrame(decapOuter(false, 0, short(askOfVIP(false, packet.TCPIP), mappedClient, onlyVIPPort))), "DROP_CANNOT_MAP", nil)
	b.checkOut(t, decapFrame(short(answerOfVIP(false, packet.TCPIP), onlyLocal, mappedClient)), "DROP_CANNOT_MAP", nil)
}

// Which is mapped all the same: a TCP packet of more than 65,535 bytes has the length 0.
func TestPrivilegedDecapMapsWhatIsLongerThanItsLengthCanSay(t *testing.T) {
	b := newDecapBench(t)
	without := func(p []byte) []byte {
		p = slices.Clone(p)
		if p[0]>>4 == 6 {
			p[4], p[5] = 0, 0
			return p
		}
		p[2], p[3] = 0, 0
		decapSum(p)
		return p
	}
	inwards, outwards := transports(askOfVIP, clientsFirst)[0], transports(answerOfVIP, serversFirst)[0]
	b.check(t, decapFrame(decapOuter(false, 0, without(inwards.build(true, onlyVIPPort)))), "DECAPSULATE", decapFrame(without(inwards.build(true, onlyLocal))))
	for _, v6 := range []bool{false, true} {
		b.checkOut(t, decapFrame(without(outwards.build(v6, onlyLocal))), "PASS_MAPPED_BACK", decapFrame(without(outwards.build(v6, onlyVIPPort))))
	}
}

// What is behind the packet in the frame is no part of it.
func TestPrivilegedDecapReadsNoPortBehindTheEnd(t *testing.T) {
	b := newDecapBench(t)
	segment := packet.TCP(onlyLocal, mappedClient, packet.ACK, nil, nil)
	ends := func(p []byte, at int) []byte {
		p = slices.Clone(p)
		binary.BigEndian.PutUint16(p[2:], uint16(at))
		decapSum(p)
		return p
	}
	b.checkOut(t, decapFrame(ends(answerOfVIP(false, packet.TCPIP).Packet(segment), 20+17)), "", nil)

	in := askOfVIP(false, packet.ICMP).Packet(packet.Message(3, 3, 0, answerOfVIP(false, packet.TCPIP).Packet(packet.TCP(onlyVIPPort, mappedClient, packet.ACK, nil, nil))))
	out := answerOfVIP(false, packet.ICMP).Packet(packet.Message(3, 3, 0, askOfVIP(false, packet.TCPIP).Packet(packet.TCP(mappedClient, onlyLocal, packet.ACK, nil, nil))))
	const ports = 20 + 8 + 20
	for _, end := range []int{ports, ports + 1} {
		b.check(t, decapFrame(decapOuter(false, 0, ends(in, end))), "DECAPSULATE", decapFrame(ends(in, end)))
	}
	for _, end := range []int{ports, ports + 2, ports + 3} {
		b.checkOut(t, decapFrame(ends(out, end)), "", nil)
	}
}

// Data that looks like an error is none where it is a later part of a message.
func TestPrivilegedDecapReadsNoErrorInALaterFragment(t *testing.T) {
	b := newDecapBench(t)
	quote := packet.Message(3, 3, 0, answerOfVIP(false, packet.TCPIP).Packet(packet.TCP(onlyVIPPort, mappedClient, packet.ACK, nil, nil)))
	later := askOfVIP(false, packet.ICMP)
	later.Offset = 100
	inner := later.Packet(quote)
	b.check(t, decapFrame(decapOuter(false, 0, inner)), "DECAPSULATE", decapFrame(inner))
}

// Both ways are turned on by the VIP's own entry, after all mappings are there.
func TestPrivilegedDecapMapsNothingBeforeTheVIPsEntrySaysSo(t *testing.T) {
	b := newDecapBench(t)
	for key := range decapTestOptions.tables().vips {
		if err := b.objs.DecapVips.Put(key, decapDecapVipPortsPORTS_AS_THEY_ARE); err != nil {
			t.Fatal(err)
		}
	}
	inwards, outwards := transports(askOfVIP, clientsFirst)[0], transports(answerOfVIP, serversFirst)[0]
	for _, v6 := range []bool{false, true} {
		inner := inwards.build(v6, onlyVIPPort)
		b.check(t, decapFrame(decapOuter(false, 0, inner)), "DECAPSULATE", decapFrame(inner))
		b.checkOut(t, decapFrame(outwards.build(v6, onlyLocal)), "", nil)
	}
}
