package kernel

import (
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedPacketsForAVIPAreDroppedForNamedReasonsAlone(t *testing.T) {
	segment4, segment6 := frame(ip4(), data(ipipTo4)), frame(ip6(), data(ipipTo4))
	datagram4, datagram6 := frame(ip4(), udp(ipipTo4, 100)), frame(ip6(), udp(ipipTo4, 100))
	flags := func(flags uint8) []byte { return frame(ip4(), tcpTo(ipipTo4, flags, 0)) }
	looped := frame(ip4(), syn(l2))
	copy(looped[6:], nextHopMAC)
	loopedInVLAN := frame(ip4(), syn(l2), vlan7)
	copy(loopedInVLAN[6:], nextHopMAC)
	tunnelled := frame(ip4(), syn(ipipTo4))
	copy(tunnelled[6:], nextHopMAC)
	keep(t, []promise{
		// Lengths that lie.
		{says: "a total length beyond the frame", frame: put(segment4, 2, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a total length one byte beyond the frame", frame: put(segment4, 3, segment4[14+3]+1), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a total length one byte short of the TCP header", frame: put(segment4, 3, 39), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a total length shorter than the IP header", frame: put(segment4, 3, 19), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a total length of zero", frame: put(segment4, 2, 0, 0), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a total length that ends within the options", frame: put(frame(ip4(options(40)), syn(ipipTo4)), 3, 50), fate: dropped("DROP_BAD_LENGTH")},
		{says: "an IPv6 payload length beyond the frame", frame: put(segment6, 4, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "an IPv6 payload length that overflows 16 bits", frame: put(segment6, 4, 0xff, 0xff), fate: dropped("DROP_BAD_LENGTH")},
		{says: "an IPv6 payload length of zero", frame: put(segment6, 4, 0, 0), fate: dropped("DROP_BAD_LENGTH")},
		{says: "an IPv6 payload length that ends within an extension header", frame: put(frame(ip6(chained(destOptions)), syn(ipipTo4)), 5, 27), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a frame cut short behind its headers", frame: cut(segment4, 41), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a frame cut short by its last byte", frame: segment6[:len(segment6)-1], fate: dropped("DROP_BAD_LENGTH")},
		{says: "padding behind the packet is true", frame: padded(segment4, 9), fate: goesTo(ipipTo4)},
		{says: "so it is over IPv6", frame: padded(segment6, 9), fate: goesTo(ipipTo4)},
		{says: "a TCP header of 16 bytes", frame: put(segment4, 20+12, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a TCP header of no bytes", frame: put(segment6, 40+12, 0), fate: dropped("DROP_BAD_LENGTH")},
		{says: "TCP options beyond the packet", frame: put(frame(ip4(), syn(ipipTo4)), 20+12, 0x60), fate: dropped("DROP_BAD_LENGTH")},
		{says: "TCP options that fill the packet", frame: put(frame(ip4(), tcpTo(ipipTo4, packet.SYN, 4)), 20+12, 0x60), fate: goesTo(ipipTo4)},
		{says: "TCP options that end in the padding", frame: put(padded(frame(ip4(), syn(ipipTo4)), 40), 20+12, 0xa0), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a UDP length beyond the packet", frame: put(datagram4, 20+4, 0, 109), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a UDP length that ends in the padding", frame: put(padded(datagram4, 9), 20+4, 0, 109), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a UDP length shorter than its header", frame: put(datagram4, 20+4, 0, 7), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a UDP length shorter than its header over IPv6", frame: put(datagram6, 40+4, 0, 7), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a UDP length of zero, which only a jumbogram has", frame: put(datagram6, 40+4, 0, 0), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a UDP length shorter than the packet", frame: put(datagram6, 40+4, 0, 8), fate: goesTo(ipipTo4)},
		{says: "a datagram without a payload", frame: frame(ip4(), udp(ipipTo4, 0)), fate: goesTo(ipipTo4)},

		// Flags.
		{says: "a segment without any flag", frame: flags(0), fate: dropped("DROP_BAD_FLAGS")},
		{says: "PSH and URG alone", frame: flags(packet.PSH | packet.URG), fate: dropped("DROP_BAD_FLAGS")},
		{says: "SYN and FIN", frame: flags(packet.SYN | packet.FIN), fate: dropped("DROP_BAD_FLAGS")},
		{says: "SYN and RST", frame: flags(packet.SYN | packet.RST), fate: dropped("DROP_BAD_FLAGS")},
		{says: "SYN, ACK and FIN", frame: flags(packet.SYN | packet.ACK | packet.FIN), fate: dropped("DROP_BAD_FLAGS")},
		{says: "all flags at once", frame: flags(0xff), fate: dropped("DROP_BAD_FLAGS")},
		{says: "all flags at once over IPv6", frame: frame(ip6(), tcpTo(ipipTo4, 0xff, 0)), fate: dropped("DROP_BAD_FLAGS")},
		{says: "SYN", frame: flags(packet.SYN), fate: goesTo(ipipTo4)},
		{says: "SYN with both ECN flags, as RFC 3168 opens a connection", frame: flags(packet.SYN | 0xc0), fate: goesTo(ipipTo4)},
		{says: "SYN and ACK", frame: flags(packet.SYN | packet.ACK), fate: goesTo(ipipTo4)},
		{says: "ACK", frame: flags(packet.ACK), fate: goesTo(ipipTo4)},
		{says: "RST", frame: flags(packet.RST), fate: goesTo(ipipTo4)},
		{says: "RST and ACK", frame: flags(packet.RST | packet.ACK), fate: goesTo(ipipTo4)},
		{says: "FIN and ACK", frame: flags(packet.FIN | packet.ACK), fate: goesTo(ipipTo4)},
		{says: "FIN alone, which is odd and harmless", frame: flags(packet.FIN), fate: goesTo(ipipTo4)},

		// Ways.
		{says: "a packet that comes back from an l2 backend", frame: looped, fate: dropped("DROP_LOOP")},
		{says: "one that comes back in a VLAN", frame: loopedInVLAN, fate: dropped("DROP_LOOP")},
		{says: "one that comes from a tunnel's next hop may be new", frame: tunnelled, fate: goesTo(ipipTo4)},
		{says: "a service without a backend", frame: frame(ip4(), syn(nobody)), fate: dropped("DROP_NO_BACKEND")},
		{says: "nor has it one for a datagram over IPv6", frame: frame(ip6(), udp(nobody, 10)), fate: dropped("DROP_NO_BACKEND")},
		{says: "slots that the map does not have", frame: frame(ip4(), syn(outside)), fate: dropped("DROP_NO_BACKEND")},
		{says: "an interface that packets may not be redirected to", frame: frame(ip4(), syn(nowhere)), fate: dropped("DROP_NO_EGRESS")},

		// The first mistake names the outcome.
		{says: "a wrong length comes before wrong flags", frame: put(flags(0), 3, 39), fate: dropped("DROP_BAD_LENGTH")},
		{says: "wrong flags come before a missing backend", frame: frame(ip4(), tcpTo(nobody, 0, 0)), fate: dropped("DROP_BAD_FLAGS")},
		{says: "a packet in a VLAN is judged like any other", frame: frame(ip4(), tcpTo(ipipTo4, 0, 0), vlan7), fate: dropped("DROP_BAD_FLAGS")},
		{says: "one with options is, too", frame: frame(ip4(options(4)), tcpTo(ipipTo4, 0, 0)), fate: dropped("DROP_BAD_FLAGS")},
		{says: "one with extension headers is, too", frame: frame(ip6(chained(hopHeader)), tcpTo(ipipTo4, 0, 0)), fate: dropped("DROP_BAD_FLAGS")},
	})
}

func TestPrivilegedOfAllTCPFlagsThoseOfASegmentAreForwarded(t *testing.T) {
	var promises []promise
	for flags := range 256 {
		has := func(flag int) bool { return flags&flag != 0 }
		row := promise{says: fmt.Sprintf("%08b", flags), frame: frame(ip4(), tcpTo(ipipTo4, uint8(flags), 0)), fate: goesTo(ipipTo4)}
		switch {
		case !has(packet.SYN | packet.ACK | packet.FIN | packet.RST),
			has(packet.SYN) && has(packet.FIN),
			has(packet.SYN) && has(packet.RST):
			row.fate = dropped("DROP_BAD_FLAGS")
		}
		promises = append(promises, row)
	}
	keep(t, promises)
}

// Of each kind of packet, every beginning: what has been read of it decides.
func TestPrivilegedAFrameCutShortAnywhereIsNeverForwarded(t *testing.T) {
	var promises []promise
	for _, kind := range []struct {
		says                 string
		frame                []byte
		destination, headers int // where these end
	}{
		{"a segment", frame(ip4(), data(ipipTo4)), 14 + 20, 14 + 20 + 20},
		{"a datagram", frame(ip4(), udp(ipipTo4, 64)), 14 + 20, 14 + 20 + 8},
		{"a datagram with options", frame(ip4(options(40)), udp(ipipTo4, 64)), 14 + 20, 14 + 60 + 8},
		{"a segment over IPv6", frame(ip6(), data(ipipTo4)), 14 + 40, 14 + 40 + 20},
		{"a datagram over IPv6", frame(ip6(), udp(ipipTo4, 64)), 14 + 40, 14 + 40 + 8},
		{"a segment in VLANs behind extension headers", frame(ip6(chained(hopHeader, atomicHeader)), data(ipipTo4), service300, vlan8), 22 + 40, 22 + 40 + 16 + 20},
	} {
		for size := 14; size < len(kind.frame); size++ {
			row := promise{says: fmt.Sprintf("%s cut to %d bytes", kind.says, size), frame: kind.frame[:size], fate: dropped("DROP_BAD_LENGTH")}
			if size < kind.destination {
				row.fate = passes("PASS_UNREADABLE")
			} else if size < kind.headers {
				row.fate = dropped("DROP_UNREADABLE")
			}
			promises = append(promises, row)
		}
	}
	keep(t, promises)
}
