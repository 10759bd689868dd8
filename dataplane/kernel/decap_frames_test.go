package kernel

import (
	"encoding/binary"
	"net/netip"
)

// Frames for the tests of decapsulation, written from the RFCs rather than
// from the program: every checksum is computed over the whole header.

var (
	decapVIP4      = netip.MustParseAddr("192.0.2.10")
	decapVIP6      = netip.MustParseAddr("2001:db8:10::10")
	decapClient4   = netip.MustParseAddr("198.51.100.7")
	decapClient6   = netip.MustParseAddr("2001:db8:99::7")
	decapBalancer4 = netip.MustParseAddr("10.0.0.1")
	decapBalancer6 = netip.MustParseAddr("fd00::1")
	decapBackend4  = netip.MustParseAddr("10.0.0.2")
	decapBackend6  = netip.MustParseAddr("fd00::2")
)

const (
	decapNotECT = iota
	decapECT1
	decapECT0
	decapCE
)

// decapIP is an IP packet of the family of its addresses.
func decapIP(from, to netip.Addr, protocol, tos byte, payload []byte) []byte {
	if from.Is4() {
		header := make([]byte, 20)
		header[0], header[1] = 0x45, tos
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(payload)))
		header[6] = 0x40 // do not fragment
		header[8], header[9] = 64, protocol
		copy(header[12:], from.AsSlice())
		copy(header[16:], to.AsSlice())
		decapSum(header)
		return append(header, payload...)
	}
	header := make([]byte, 40)
	binary.BigEndian.PutUint32(header, 6<<28|uint32(tos)<<20|0xabcde)
	binary.BigEndian.PutUint16(header[4:], uint16(len(payload)))
	header[6], header[7] = protocol, 64
	copy(header[8:], from.AsSlice())
	copy(header[24:], to.AsSlice())
	return append(header, payload...)
}

// decapSum writes the checksum of an IPv4 header: RFC 791.
func decapSum(header []byte) {
	header[10], header[11] = 0, 0
	var sum uint32
	for i := 0; i < int(header[0]&0xf)*4; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}

// decapInner is a datagram of a client to the VIP of its family.
func decapInner(v6 bool, tos byte) []byte {
	datagram := []byte("\x30\x39\x00\x35\x00\x15\x00\x00hello, points")
	if v6 {
		return decapIP(decapClient6, decapVIP6, 17, tos, datagram)
	}
	return decapIP(decapClient4, decapVIP4, 17, tos, datagram)
}

// decapMix is a way that an inner packet travels.
type decapMix struct{ inner6, outer6, gue bool }

// String names a mix as RFC titles do: inner in outer.
func (m decapMix) String() string {
	family := map[bool]string{false: "IPv4", true: "IPv6"}
	if m.gue {
		return family[m.inner6] + " in GUE over " + family[m.outer6]
	}
	return family[m.inner6] + " in " + family[m.outer6]
}

func (m decapMix) inner(tos byte) []byte { return decapInner(m.inner6, tos) }

// frame is what the balancer sends: a packet in a tunnel of the mix.
func (m decapMix) frame(tos byte, inner []byte) []byte {
	if m.gue {
		return decapFrame(decapInGUE(m.outer6, tos, inner))
	}
	return decapFrame(decapOuter(m.outer6, tos, inner))
}

// headers is the size of Ethernet's and the outer headers.
func (m decapMix) headers() int {
	size := 14 + 20
	if m.outer6 {
		size += 20
	}
	if m.gue {
		size += 8 + 4
	}
	return size
}

// cut ends a frame after n bytes and lets the outer lengths agree.
func (m decapMix) cut(frame []byte, n int) []byte {
	cut := append([]byte(nil), frame[:n]...)
	if udp := m.headers() - 12; m.gue {
		binary.BigEndian.PutUint16(cut[udp+4:], uint16(n-udp))
	}
	if m.outer6 {
		binary.BigEndian.PutUint16(cut[18:], uint16(n-54))
		return cut
	}
	binary.BigEndian.PutUint16(cut[16:], uint16(n-14))
	return decapSummed(cut)
}

// decapOuter puts a packet into a tunnel from the balancer.
func decapOuter(v6 bool, tos byte, inner []byte) []byte {
	return decapFromBalancer(v6, decapProtocol(inner), tos, inner)
}

// decapInGUE puts a packet into UDP, without a checksum, and that into a tunnel.
func decapInGUE(v6 bool, tos byte, inner []byte) []byte {
	headers := []byte{0xc1, 0x23, 6080 >> 8, 6080 & 0xff, 0, 0, 0, 0, 0, decapProtocol(inner), 0, 0}
	binary.BigEndian.PutUint16(headers[4:], uint16(len(headers)+len(inner)))
	return decapFromBalancer(v6, 17, tos, append(headers, inner...))
}

func decapFromBalancer(v6 bool, protocol, tos byte, payload []byte) []byte {
	if v6 {
		return decapIP(decapBalancer6, decapBackend6, protocol, tos, payload)
	}
	return decapIP(decapBalancer4, decapBackend4, protocol, tos, payload)
}

func decapProtocol(inner []byte) byte {
	if inner[0]>>4 == 6 {
		return 41
	}
	return 4
}

// decapFrame puts a packet behind an Ethernet header.
func decapFrame(packet []byte) []byte {
	frame := []byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00")
	if packet[0]>>4 == 6 {
		frame[12], frame[13] = 0x86, 0xdd
	}
	return append(frame, packet...)
}

// decapChanged is a copy of a frame with other bytes from an offset on.
func decapChanged(frame []byte, at int, bytes ...byte) []byte {
	changed := append([]byte(nil), frame...)
	copy(changed[at:], bytes)
	return changed
}

// decapSummed renews the checksum of a frame's outer IPv4 header.
func decapSummed(frame []byte) []byte {
	decapSum(frame[14:])
	return frame
}

// decapPadded is a frame with bytes behind the packet.
func decapPadded(frame []byte, bytes int) []byte {
	return append(append([]byte(nil), frame...), make([]byte, bytes)...)
}
