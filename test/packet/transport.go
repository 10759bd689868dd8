package packet

import "encoding/binary"

// Flags of TCP.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

// TCP is a segment. Options are a multiple of 4 bytes.
func TCP(from, to uint16, flags uint8, options, payload []byte) []byte {
	segment := put16(nil, from, to, 0, 1, 0, 1)
	segment = append(segment, byte(5+len(options)/4)<<4, flags)
	segment = put16(segment, 1000, 0, 0)
	return append(append(segment, options...), payload...)
}

// UDP is a datagram.
func UDP(from, to uint16, payload []byte) []byte {
	return append(put16(nil, from, to, uint16(8+len(payload)), 0), payload...)
}

// GUE is a packet in variant 0 of Generic UDP Encapsulation, without options.
func GUE(protocol uint8, packet []byte) []byte {
	return append([]byte{0, protocol, 0, 0}, packet...)
}

// GUEToPort is the same with a word of private data, by which Pointsman names the
// port that an instance listens on.
func GUEToPort(protocol uint8, port uint16, packet []byte) []byte {
	return append(put16([]byte{1, protocol, 0, 0, 'p', 'm'}, port), packet...)
}

// Message is one of ICMP or ICMPv6: type, code, the second word, and the rest.
func Message(kind, code uint8, word uint32, rest []byte) []byte {
	message := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, word)
	return append(message, rest...)
}

// Types of IPv4's options (RFC 791, section 3.1).
const (
	EndOfOptions = 0
	NoOperation  = 1
	RecordRoute  = 7
	LooseRoute   = 131
	StrictRoute  = 137
)

// Extension headers.

// OptionsHeader is one of hop-by-hop or destination options, of 8 bytes and
// more, padded.
func OptionsHeader(protocol uint8, more int) Extension {
	body := make([]byte, 7+8*more)
	body[0] = byte(more)
	body[1], body[2] = 1, byte(len(body)-3) // PadN
	return Extension{Protocol: protocol, Body: body}
}

// RoutingHeader is one of a route on which some addresses are still to visit (RFC
// 8200, section 4.4).
func RoutingHeader(left int) Extension {
	body := make([]byte, 7+16*left)
	body[0], body[1], body[2] = byte(2*left), 4, byte(left)
	return Extension{Protocol: Routing, Body: body}
}

// SourceRoute is IPv4's loose one with a number of addresses, of which some have been
// visited (RFC 791, section 3.1), padded.
func SourceRoute(addresses, visited int) []byte {
	option := make([]byte, 4+4*addresses)
	option[0], option[1], option[2] = LooseRoute, byte(3+4*addresses), byte(4+4*visited)
	return option
}

// AHHeader is an authentication header with a number of words of its check value.
func AHHeader(words int) Extension {
	body := make([]byte, 11+4*words)
	body[0] = byte(1 + words)
	body[6], body[10] = 1, 1 // SPI and sequence number
	return Extension{Protocol: AH, Body: body}
}

// FragmentHeader is RFC 8200's, the offset in units of 8 bytes.
func FragmentHeader(id uint32, offset uint16, more bool) Extension {
	body := put16([]byte{0}, offset<<3|flag(more, 1))
	return Extension{Protocol: Fragment, Body: binary.BigEndian.AppendUint32(body, id)}
}

// QUICLong is the start of a long-header packet (RFC 9000, section 17.2).
func QUICLong(destination []byte, rest []byte) []byte {
	header := append([]byte{0xc3, 0, 0, 0, 1, byte(len(destination))}, destination...)
	return append(header, rest...)
}

// QUICShort is the start of a short-header packet (section 17.3).
func QUICShort(destination []byte, rest []byte) []byte {
	return append(append([]byte{0x43}, destination...), rest...)
}
