package wild

import (
	"bytes"
	"net/netip"

	"github.com/pointsman/pointsman/test/packet"
)

// frame is something that comes in: a packet of some kind, whole or damaged.
func (d *Dice) frame() []byte {
	if d.oneIn(64) {
		return d.raw()
	}
	frame := d.link().Frame(d.packet())
	if len(frame) > mostBytes {
		frame = frame[:mostBytes]
	}
	if d.oneIn(3) {
		frame = d.damageFrame(frame)
	}
	return frame
}

// mostBytes is what BPF_PROG_TEST_RUN takes on a page of 4 KiB.
const mostBytes = 3400

// raw is a frame of dice, for whoever looks for packets in a guided way.
func (d *Dice) raw() []byte {
	link := packet.Ethernet{To: balancerMAC, From: pick(d, clientMACs), Type: pick(d, []uint16{packet.TypeIPv4, packet.TypeIPv6})}
	return link.Frame(d.rest())
}

func (d *Dice) link() packet.Ethernet {
	link := packet.Ethernet{To: balancerMAC, From: pick(d, clientMACs)}
	if d.oneIn(16) {
		link.To = groupMAC
	}
	if !d.oneIn(4) {
		return link
	}
	types := []uint16{packet.TypeTag, packet.TypeServiceTag, packet.TypeTag, packet.TypeServiceTag, packet.TypeTag, 0x9100}
	for range pick(d, []int{1, 1, 2, 2, 3}) {
		link.Tags = append(link.Tags, packet.Tag{Type: pick(d, types), TCI: uint16(d.wide()) * uint16(min(1, d.Roll(4)))})
	}
	if d.oneIn(16) {
		link.Type = pick(d, []uint16{packet.TypeARP, packet.TypeLLDP, packet.TypeIPv4, packet.TypeIPv6})
	}
	return link
}

// packet is of all kinds, most often one of a flow.
func (d *Dice) packet() []byte {
	ip := d.ip()
	switch kind := d.Roll(16); {
	case kind < 9:
		return ip.Packet(d.segment(&ip))
	case kind < 12:
		return d.part(ip)
	case kind < 13:
		return d.echo(ip)
	case kind < 15:
		return d.icmpError(ip)
	}
	return d.otherProtocol(ip)
}

// ip is a header between some client and, most often, a VIP's address.
func (d *Dice) ip() packet.IP {
	ip := packet.IP{TOS: uint8(pick(d, []int{0, 0, 46<<2 | 2, 255})), ID: uint16(d.Roll(3)), DF: d.oneIn(2), TTL: pick(d, []uint8{57, 64, 1, 255}), Spent: d.oneIn(32)}
	if d.oneIn(2) {
		ip.From, ip.To = pick(d, clients6), d.destination(vips6, others6)
		ip.Label = uint32(d.wide())
		if d.oneIn(4) {
			ip.Extensions = d.extensions()
		}
		return ip
	}
	ip.From, ip.To = pick(d, clients4), d.destination(vips4, others4)
	if d.oneIn(5) {
		ip.Options = d.options()
	}
	return ip
}

// options are of no consequence, or routes and what looks like them.
func (d *Dice) options() []byte {
	options := bytes.Repeat([]byte{packet.NoOperation}, 4*(1+d.Roll(10)))
	if d.oneIn(2) {
		return options
	}
	kinds := []byte{packet.LooseRoute, packet.StrictRoute, packet.RecordRoute, 68, packet.EndOfOptions, packet.LooseRoute}
	at := d.Roll(4)
	for range 3 {
		length := pick(d, []byte{7, 11, 3, 2, 0, 7, 11, byte(d.Roll(44))})
		option := append([]byte{pick(d, kinds), length, pick(d, []byte{4, 8, length, length + 1, length + 4, 0})}, make([]byte, 40)...)
		at += copy(options[at:], option[:max(3, min(length, 40))]) + d.Roll(3)
		at = min(at, len(options))
	}
	return options
}

func (d *Dice) extensions() (all []packet.Extension) {
	for range 1 + d.Roll(8) {
		switch d.Roll(6) {
		case 0, 1:
			all = append(all, packet.OptionsHeader(packet.Options, pick(d, []int{0, 1, 0, 5, 0, 31})))
		case 2:
			all = append(all, packet.OptionsHeader(0, d.Roll(3)))
		case 3:
			all = append(all, packet.RoutingHeader(pick(d, []int{0, 0, 1, 2})))
		case 4:
			all = append(all, packet.AHHeader(d.Roll(6)))
		case 5:
			all = append(all, packet.FragmentHeader(uint32(d.Roll(3)), pick(d, []uint16{0, 0, 185, 0}), d.oneIn(3)))
		}
	}
	return all
}

// segment is one of TCP or UDP, and tells the header which.
func (d *Dice) segment(ip *packet.IP) []byte {
	from, to := pick(d, clientPorts), d.port()
	if d.oneIn(2) {
		ip.Protocol = packet.UDPIP
		return packet.UDP(from, to, d.payload())
	}
	ip.Protocol = packet.TCPIP
	flags := pick(d, []uint8{packet.SYN, packet.ACK, packet.SYN | packet.ACK, packet.PSH | packet.ACK, packet.FIN | packet.ACK,
		packet.RST, packet.SYN, packet.ACK, packet.FIN, 0, packet.SYN | packet.FIN, packet.SYN | packet.RST, 0xff, packet.PSH, packet.URG})
	options := make([]byte, 4*pick(d, []int{0, 0, 3, 10}))
	for i := range options {
		options[i] = 1
	}
	return packet.TCP(from, to, flags, options, d.payload())
}

// port is one that VIPs have, or lies at the edge of a range that they have.
func (d *Dice) port() uint16 {
	switch d.Roll(8) {
	case 6:
		return pick(d, edges) + uint16(d.Roll(3)) - 1
	case 7:
		return pick(d, otherPorts)
	}
	return pick(d, vipPorts)
}

func (d *Dice) destination(vips, others []netip.Addr) netip.Addr {
	if d.oneIn(5) {
		return pick(d, others)
	}
	return pick(d, vips)
}

// payload is mostly short, and else about as long as some path takes.
func (d *Dice) payload() []byte {
	switch d.Roll(8) {
	case 0:
		return make([]byte, pick(d, []int{1500, 1400, 1300, 600, 256, 128, 576, 1280, 548, 1232, 1220})-d.Roll(pick(d, []int{128, 3})))
	case 1:
		return d.quic()
	case 2:
		inner := d.flat()
		return packet.GUE(pick(d, []uint8{packet.IPIP, packet.IPv6IP}), inner)
	}
	return make([]byte, d.Roll(40))
}

func (d *Dice) quic() []byte {
	id := pick(d, connectionIDs)
	id = id[:min(len(id), 1+d.Roll(20))]
	if d.oneIn(2) {
		return packet.QUICLong(id, make([]byte, d.Roll(30)))
	}
	return packet.QUICShort(id, make([]byte, d.Roll(3)))
}

var connectionIDs = [][]byte{
	{0x00, 0x00, 0x01, 0, 0, 0, 0, 0}, {0xaa, 0x00, 0x02, 1, 2, 3, 4, 5, 6, 7}, {0x55, 0x0a, 0x0b, 0, 0, 0, 0, 0, 0, 0, 0},
	{0, 0, 3}, {0x77, 0x00, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15},
}

// flat is a packet without the recursion of others in it.
func (d *Dice) flat() []byte {
	ip := d.ip()
	from, to := pick(d, clientPorts), d.port()
	ip.Protocol = packet.UDPIP
	return ip.Packet(packet.UDP(from, to, make([]byte, d.Roll(20))))
}

// part is a fragment: the first of a packet, or a later one.
func (d *Dice) part(ip packet.IP) []byte {
	payload := d.segment(&ip)
	offset, more := uint16(0), true
	if d.oneIn(2) {
		offset, more = 1+uint16(d.Roll(200)), d.oneIn(2)
		payload = payload[:len(payload)*d.Roll(256)/256]
	} else if d.oneIn(4) {
		payload = payload[:len(payload)&^7]
	}
	if d.oneIn(8) {
		ip.Protocol = pick(d, []uint8{packet.ICMP, packet.ICMPv6, packet.GRE, packet.Options})
	}
	if offset == 0 && ip.Protocol == packet.UDPIP && d.oneIn(8) {
		payload[4], payload[5] = 0, byte(d.Roll(9)) // which nobody judges here
	}
	if ip.V6() {
		ip.Extensions = append(ip.Extensions, packet.FragmentHeader(uint32(ip.ID), offset, more))
	} else {
		ip.Offset, ip.MF = offset, more
	}
	return ip.Packet(payload)
}

func (d *Dice) otherProtocol(ip packet.IP) []byte {
	ip.Protocol = pick(d, []uint8{packet.OSPF, packet.GRE, packet.ESP, packet.AH, packet.NoNext, packet.IPIP, packet.IPv6IP, 0, 255})
	payload := d.payload()
	if ip.Protocol == packet.IPIP || ip.Protocol == packet.IPv6IP {
		payload = d.flat()
	}
	return ip.Packet(payload)
}
