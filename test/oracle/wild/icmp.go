package wild

import (
	"net/netip"

	"github.com/pointsman/pointsman/test/packet"
)

func (d *Dice) echo(ip packet.IP) []byte {
	kind := pick(d, []uint8{8, 8, 0, 13, 5})
	ip.Protocol = packet.ICMP
	if ip.V6() {
		kind = pick(d, []uint8{128, 128, 129, 135, 137})
		ip.Protocol = packet.ICMPv6
	}
	if d.oneIn(16) {
		ip.Protocol = packet.ICMP + packet.ICMPv6 - ip.Protocol
	}
	code := uint8(0)
	if d.oneIn(8) {
		code = 1
	}
	rest := make([]byte, pick(d, []int{0, 56, 8, 1400}))
	for i, word := 0, d.wide(); i < len(rest); i++ {
		word = word*75 + 74 // any sum, not only that of zeroes
		rest[i] = byte(word)
	}
	return ip.Packet(packet.Message(kind, code, uint32(d.wide())<<16|uint32(d.wide()), rest))
}

// icmpError quotes a packet that went from a VIP, by and large.
func (d *Dice) icmpError(ip packet.IP) []byte {
	quoted := d.ip()
	if quoted.V6() != ip.V6() && !d.oneIn(16) {
		quoted = packet.IP{From: ip.To, To: ip.From, Protocol: packet.TCPIP}
	}
	quoted.From, quoted.To = ip.To, pick(d, clientsOf(ip.V6()))
	if quoted.To.Is6() {
		quoted.Options = nil
	}
	if d.oneIn(16) {
		quoted.From = pick(d, clientsOf(ip.V6()))
	}
	port := d.port()
	segment := packet.TCP(port, pick(d, clientPorts), packet.ACK, nil, make([]byte, d.Roll(40)))
	quoted.Protocol = packet.TCPIP
	if d.oneIn(2) {
		segment = packet.UDP(port, pick(d, clientPorts), make([]byte, d.Roll(40)))
		quoted.Protocol = packet.UDPIP
	}
	if d.oneIn(12) {
		quoted.Protocol = pick(d, []uint8{packet.ICMP, packet.ESP, packet.GRE})
	}
	if d.oneIn(8) && !quoted.V6() {
		quoted.MF, quoted.Offset = true, uint16(d.Roll(2))
	}
	quote := quoted.Packet(segment)
	if d.oneIn(2) {
		headers := len(quote) - len(segment)
		quote = quote[:min(len(quote), headers+pick(d, []int{8, 4, 3, 0, 20}))]
	}
	return d.aboutQuote(ip, quote)
}

// aboutQuote is an error, or what looks like one.
func (d *Dice) aboutQuote(ip packet.IP, quote []byte) []byte {
	ip.Protocol = packet.ICMP
	kind := pick(d, []uint8{3, 3, 11, 12, 4})
	if ip.V6() {
		ip.Protocol, kind = packet.ICMPv6, pick(d, []uint8{2, 1, 3, 4, 5})
	}
	word := uint32(pick(d, []int{0, 576, 1280, 1300, 1500, 65535, 65536})) + uint32(d.Roll(64))
	if d.oneIn(4) {
		word = uint32(d.wide()) << d.Roll(17)
	}
	return ip.Packet(packet.Message(kind, uint8(d.Roll(18)), word, quote))
}

func clientsOf(v6 bool) []netip.Addr {
	if v6 {
		return clients6
	}
	return clients4
}
