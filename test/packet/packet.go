// Package packet builds frames for tests from the inside out, with lengths and
// checksums that are right: what should be wrong with one is edited afterwards.
package packet

import (
	"encoding/binary"
	"net/netip"
)

// IP protocol numbers.
const (
	ICMP     = 1
	IPIP     = 4
	TCPIP    = 6
	UDPIP    = 17
	IPv6IP   = 41
	Routing  = 43
	Fragment = 44
	GRE      = 47
	ESP      = 50
	AH       = 51
	ICMPv6   = 58
	NoNext   = 59
	Options  = 60
	OSPF     = 89
)

// Ethernet types.
const (
	TypeIPv4       = 0x0800
	TypeARP        = 0x0806
	TypeTag        = 0x8100
	TypeIPv6       = 0x86dd
	TypeServiceTag = 0x88a8
	TypeLLDP       = 0x88cc
)

// MAC is an Ethernet address.
type MAC = [6]byte

// Tag is a VLAN tag.
type Tag struct{ Type, TCI uint16 }

// Ethernet is a frame's header.
type Ethernet struct {
	To, From MAC
	Tags     []Tag
	Type     uint16 // 0: of the IP version in the payload's first bits
}

// Frame is the header, the payload, and padding to Ethernet's least, 60 bytes.
func (e Ethernet) Frame(payload []byte) []byte {
	frame := e.Around(payload)
	for len(frame) < 60 {
		frame = append(frame, 0)
	}
	return frame
}

// Around is the header and the payload, without padding: what a program sends.
func (e Ethernet) Around(payload []byte) []byte {
	frame := append(e.To[:], e.From[:]...)
	for _, tag := range e.Tags {
		frame = put16(frame, tag.Type, tag.TCI)
	}
	if e.Type == 0 && len(payload) > 0 && payload[0]>>4 == 6 {
		e.Type = TypeIPv6
	} else if e.Type == 0 {
		e.Type = TypeIPv4
	}
	return append(put16(frame, e.Type), payload...)
}

// IP is a packet of either family, by its addresses.
type IP struct {
	From, To   netip.Addr
	Protocol   uint8
	TOS        uint8
	TTL        uint8  // 0 means 57,
	Spent      bool   // and this a TTL of 0
	ID         uint16 // IPv4
	DF, MF     bool   // IPv4
	Offset     uint16 // IPv4: of a fragment, in units of 8 bytes
	Options    []byte // IPv4: a multiple of 4 bytes
	Extensions []Extension
	Label      uint32 // IPv6: the flow label
}

// Extension is an extension header of IPv6: its protocol number and all of it
// but the first byte, which names the next.
type Extension struct {
	Protocol uint8
	Body     []byte
}

// V6 tells the family.
func (ip IP) V6() bool { return ip.To.Is6() }

// Packet is the IP packet. A checksum of TCP, UDP or ICMP in the payload that is
// zero is computed, unless the packet is a later fragment.
func (ip IP) Packet(payload []byte) []byte {
	if ip.TTL == 0 {
		ip.TTL = 57
	}
	if ip.Spent {
		ip.TTL = 0
	}
	if ip.Offset == 0 {
		ip.sign(payload)
	}
	if ip.V6() {
		return ip.packet6(payload)
	}
	header := []byte{0x40 | byte(5+len(ip.Options)/4), ip.TOS}
	header = put16(header, uint16(20+len(ip.Options)+len(payload)), ip.ID, flag(ip.DF, 0x4000)|flag(ip.MF, 0x2000)|ip.Offset)
	header = put16(append(header, ip.TTL, ip.Protocol), 0)
	header = append(append(header, ip.From.AsSlice()...), ip.To.AsSlice()...)
	header = append(header, ip.Options...)
	binary.BigEndian.PutUint16(header[10:], ^Sum(0, header))
	return append(header, payload...)
}

func (ip IP) packet6(payload []byte) []byte {
	next, extensions := ip.Protocol, []byte(nil)
	for i := len(ip.Extensions) - 1; i >= 0; i-- {
		extensions = append(append([]byte{next}, ip.Extensions[i].Body...), extensions...)
		next = ip.Extensions[i].Protocol
	}
	header := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(ip.TOS)<<20|ip.Label)
	header = append(put16(header, uint16(len(extensions)+len(payload))), next, ip.TTL)
	header = append(append(header, ip.From.AsSlice()...), ip.To.AsSlice()...)
	return append(append(header, extensions...), payload...)
}

// sign computes the checksum of a transport header that has none.
func (ip IP) sign(payload []byte) {
	at := map[uint8]int{ICMP: 2, TCPIP: 16, UDPIP: 6, ICMPv6: 2}[ip.Protocol]
	if at == 0 || len(payload) < at+2 || payload[at] != 0 || payload[at+1] != 0 {
		return
	}
	begun := uint32(ip.Protocol) + uint32(len(payload))
	if ip.Protocol == ICMP {
		begun = 0
	} else {
		begun += uint32(Sum(0, append(ip.From.AsSlice(), ip.To.AsSlice()...)))
	}
	checksum := ^Sum(begun, payload)
	if checksum == 0 && ip.Protocol == UDPIP {
		checksum = 0xffff
	}
	binary.BigEndian.PutUint16(payload[at:], checksum)
}

// Sum is RFC 1071's sum of bytes, begun with another.
func Sum(begun uint32, bytes []byte) uint16 {
	for ; len(bytes) > 1; bytes = bytes[2:] {
		begun += uint32(binary.BigEndian.Uint16(bytes))
	}
	if len(bytes) == 1 {
		begun += uint32(bytes[0]) << 8
	}
	for begun > 0xffff {
		begun = begun&0xffff + begun>>16
	}
	return uint16(begun)
}

func put16(to []byte, words ...uint16) []byte {
	for _, word := range words {
		to = binary.BigEndian.AppendUint16(to, word)
	}
	return to
}

func flag(set bool, bit uint16) uint16 {
	if set {
		return bit
	}
	return 0
}
