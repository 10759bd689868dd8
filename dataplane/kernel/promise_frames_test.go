package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/test/packet"
)

// Builders of what comes in: an IP header and a segment make a frame.

const clientPort = 40000

// segment is what an IP packet carries.
type segment struct {
	protocol uint8
	bytes    []byte
}

func tcpTo(to uint16, flags uint8, size int) segment {
	return segment{packet.TCPIP, packet.TCP(clientPort, to, flags, nil, make([]byte, size))}
}

func syn(to uint16) segment { return tcpTo(to, packet.SYN, 0) }

// data is a segment of a connection that exists.
func data(to uint16) segment { return tcpTo(to, packet.ACK|packet.PSH, 100) }

// udp is a datagram with a payload of some size.
func udp(to uint16, size int) segment {
	return segment{packet.UDPIP, packet.UDP(clientPort, to, make([]byte, size))}
}

// other is a payload of another protocol.
func other(protocol uint8) segment { return segment{protocol, make([]byte, 64)} }

// change is what is special about an IP header.
type change func(*packet.IP)

func ip4(changes ...change) packet.IP {
	return changed(packet.IP{From: client4, To: vip4, ID: 4711}, changes)
}
func ip6(changes ...change) packet.IP {
	return changed(packet.IP{From: client6, To: vip6, Label: 0x12345}, changes)
}

func changed(ip packet.IP, changes []change) packet.IP {
	for _, change := range changes {
		change(&ip)
	}
	return ip
}

func options(bytes int) change {
	return func(ip *packet.IP) { ip.Options = slices.Repeat([]byte{1}, bytes) } // no operation
}

func tos(value uint8) change { return func(ip *packet.IP) { ip.TOS = value } }
func df(ip *packet.IP)       { ip.DF = true }
func ttl(value uint8) change { return func(ip *packet.IP) { ip.TTL = value } }

// chained are extension headers between the IPv6 header and the transport's.
func chained(extensions ...packet.Extension) change {
	return func(ip *packet.IP) { ip.Extensions = append(ip.Extensions, extensions...) }
}

// frame is the packet as it comes in.
func frame(ip packet.IP, s segment, tags ...packet.Tag) []byte {
	ip.Protocol = s.protocol
	return header(tags...).Frame(ip.Packet(s.bytes))
}

func header(tags ...packet.Tag) packet.Ethernet {
	return packet.Ethernet{To: packet.MAC(balancerMAC), From: packet.MAC(clientMAC), Tags: tags}
}

// Tags of frames that come in.
var (
	vlan7      = packet.Tag{Type: packet.TypeTag, TCI: 7}
	vlan8      = packet.Tag{Type: packet.TypeTag, TCI: 5<<13 | 8}
	service300 = packet.Tag{Type: packet.TypeServiceTag, TCI: 300}
)

// put is the frame with bytes of the IP packet replaced, and an IPv4 header's
// sum mended, so that nothing but that is wrong. The frame has no tags.
func put(frame []byte, at int, values ...byte) []byte {
	frame = bytes.Clone(frame)
	copy(frame[14+at:], values)
	if size := int(frame[14]&0xf) * 4; frame[14]>>4 == 4 && size >= 20 && 14+size <= len(frame) {
		copy(frame[24:], []byte{0, 0})
		binary.BigEndian.PutUint16(frame[24:], ^packet.Sum(0, frame[14:14+size]))
	}
	return frame
}

// cut is the frame without what comes behind a number of bytes of IP.
func cut(frame []byte, ip int) []byte { return bytes.Clone(frame[:14+ip]) }

// padded is the frame with bytes behind its packet.
func padded(frame []byte, more int) []byte {
	return append(bytes.Clone(frame), bytes.Repeat([]byte{0xee}, more)...)
}

func to(addr string) change { return func(ip *packet.IP) { ip.To = parseAddr(addr) } }

// Addresses that are no VIP's, and a VIP's where a client's should be.
var (
	elsewhere4 = to("192.0.2.99")
	elsewhere6 = to("2001:db8:10::99")
	toMapped   = to("::ffff:192.0.2.10")
)

func fromVIP(ip *packet.IP) { ip.From = vip4 }

// part makes the packet a fragment, its offset in units of 8 bytes.
func part(offset uint16, more bool) change { return partOf(7, offset, more) }

// partOf is part of a packet with an identification.
func partOf(id uint16, offset uint16, more bool) change {
	return func(ip *packet.IP) {
		if ip.V6() {
			ip.Extensions = append(ip.Extensions, packet.FragmentHeader(uint32(id), offset, more))
			return
		}
		ip.ID, ip.Offset, ip.MF = id, offset, more
	}
}

func control(kind, code uint8, rest []byte) segment {
	return segment{packet.ICMP, packet.Message(kind, code, 0, rest)}
}

func control6(kind, code uint8, rest []byte) segment {
	return segment{packet.ICMPv6, packet.Message(kind, code, 0, rest)}
}

// ping is a request with a payload of some size.
func ping(size int) segment {
	return segment{packet.ICMP, packet.Message(8, 0, 0x12340001, bytes.Repeat([]byte{0x61}, size))}
}

func ping6(size int) segment {
	return segment{packet.ICMPv6, packet.Message(128, 0, 0x12340001, bytes.Repeat([]byte{0x61}, size))}
}

var parseAddr = netip.MustParseAddr

// toGroup is the frame sent to many.
func toGroup(frame []byte) []byte {
	frame[0] |= 1
	return frame
}
