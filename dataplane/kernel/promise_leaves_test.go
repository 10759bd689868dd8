package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// What leaves, said apart from the program and the oracle, by the builders of
// what comes in.

// leaves is the frame on its way to the backend: the client's packet to the
// byte, and the padding behind it.
func (w way) leaves(in, sent []byte) []byte {
	packetAndPadding := in[linkSize(in):]
	link := packet.Ethernet{To: packet.MAC(nextHopMAC), From: packet.MAC(egressMAC), Tags: w.tags()}
	payload, padding := packetAndPadding, []byte(nil)
	if w.forward != dataplane.L2 {
		length := ipLength(packetAndPadding)
		payload, padding = w.outer(packetAndPadding[:length], sent[linkSize(sent):]), packetAndPadding[length:]
	}
	return append(link.Around(payload), padding...)
}

// outer is the packet in its tunnel. The entropy is as it was sent.
func (w way) outer(inner, sent []byte) []byte {
	protocol, tos := uint8(packet.IPIP), inner[1]
	if inner[0]>>4 == 6 {
		protocol, tos = packet.IPv6IP, inner[0]<<4|inner[1]>>4
	}
	outer := packet.IP{From: source4, To: w.addr, Protocol: protocol, TOS: tos, TTL: 64, DF: true}
	size := 20
	if w.addr.Is6() {
		outer.From, outer.Label = source6, binary.BigEndian.Uint32(sent)&0xfffff
		size = 40
	}
	if w.forward == dataplane.IPIP {
		return outer.Packet(inner)
	}
	outer.Protocol = packet.UDPIP
	port := binary.BigEndian.Uint16(sent[size:]) | 0xc000
	inGUE := packet.GUE(protocol, inner)
	if w.port != 0 {
		inGUE = packet.GUEToPort(protocol, w.port, inner)
	}
	packed := outer.Packet(packet.UDP(port, 6080, inGUE))
	copy(packed[size+6:], []byte{0, 0}) // no UDP checksum
	return packed
}

func (w way) tags() (tags []packet.Tag) {
	for _, tag := range w.vlan {
		switch {
		case tag&dataplane.ServiceTag != 0:
			tags = append(tags, packet.Tag{Type: packet.TypeServiceTag, TCI: tag &^ dataplane.ServiceTag})
		case tag != 0:
			tags = append(tags, packet.Tag{Type: packet.TypeTag, TCI: tag})
		}
	}
	return tags
}

// linkSize is where the IP packet of a frame begins.
func linkSize(frame []byte) int {
	at := 12
	for {
		switch binary.BigEndian.Uint16(frame[at:]) {
		case packet.TypeTag, packet.TypeServiceTag:
			at += 4
		default:
			return at + 2
		}
	}
}

func ipLength(ip []byte) int {
	if ip[0]>>4 == 6 {
		return 40 + int(binary.BigEndian.Uint16(ip[4:]))
	}
	return int(binary.BigEndian.Uint16(ip[2:]))
}

// backTo is the link header of an answer: addresses swapped, tags as they came.
func backTo(in []byte) []byte {
	link := bytes.Clone(in[:linkSize(in)])
	copy(link, in[6:12])
	copy(link[6:], in[:6])
	return link
}

func addrOf(bytes []byte) netip.Addr {
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}
