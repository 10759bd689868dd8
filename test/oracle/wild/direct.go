package wild

import (
	"encoding/binary"
	"net/netip"

	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

// Direct draws what comes to a backend under direct return, and what leaves it.
type Direct struct {
	VIPs             []netip.Addr // and addresses that are none
	Ports            []uint16     // of VIPs and of instances
	Balancer4, Host4 netip.Addr
	Balancer6, Host6 netip.Addr
}

// Tunnelled draws a packet to a VIP in one of the tunnels that a balancer sends by.
func (x Direct) Tunnelled(bytes []byte) (frame []byte, t oracle.Tunnelled) {
	d := NewDice(bytes)
	t.Inner = x.packet(d, true)
	if t.V6 = t.Inner[0]>>4 == 6; d.oneIn(32) {
		t.V6 = !t.V6
	}
	t.Room = len(t.Inner)
	t.ECN = uint8(pick(d, []int{0, 0, 1, 2, 3}))
	outer := packet.IP{From: x.Balancer4, To: x.Host4, TTL: 64, DF: true, TOS: t.ECN}
	if d.oneIn(2) {
		outer.From, outer.To = x.Balancer6, x.Host6
	}
	outer.Protocol = packet.IPIP
	if t.V6 {
		outer.Protocol = packet.IPv6IP
	}
	inner := t.Inner
	switch inside := outer.Protocol; d.Roll(3) {
	case 1:
		outer.Protocol, inner = packet.UDPIP, packet.UDP(50000, 6080, packet.GUE(inside, inner))
	case 2:
		t.Named = pick(d, x.Ports)
		outer.Protocol, inner = packet.UDPIP, packet.UDP(50000, 6080, packet.GUEToPort(inside, t.Named, inner))
	}
	ip := outer.Packet(inner)
	if outer.Protocol == packet.UDPIP { // whose checksum a balancer does not send
		udp := len(ip) - len(inner)
		copy(ip[udp+6:], []byte{0, 0})
	}
	frame = packet.Ethernet{To: balancerMAC, From: clientMACs[0]}.Frame(ip)
	t.Inner = frame[14+len(ip)-t.Room:] // with the padding behind
	return frame, t
}

// Leaving draws what a host sends.
func (x Direct) Leaving(bytes []byte) []byte {
	d := NewDice(bytes)
	return d.link().Frame(x.packet(d, false))
}

// packet is one to a VIP, or from one.
func (x Direct) packet(d *Dice, inwards bool) []byte {
	ip := d.ip()
	vip := pick(d, x.VIPs)
	for vip.Is6() != ip.V6() {
		vip = pick(d, x.VIPs)
		if d.Over() {
			ip = packet.IP{From: clients4[0], To: vips4[0]}
			if vip.Is6() {
				ip = packet.IP{From: clients6[0], To: vips6[0]}
			}
		}
	}
	client := pick(d, clientsOf(ip.V6()))
	ip.From, ip.To = vip, client
	if inwards {
		ip.From, ip.To = client, vip
	}
	var out []byte
	switch d.Roll(8) {
	case 0, 1, 2, 3:
		out = x.carrying(d, &ip, x.segment(d, &ip, inwards), inwards)
	case 4:
		segment := x.segment(d, &ip, inwards)
		offset := uint16(d.Roll(2) * 5)
		if ip.V6() {
			ip.Extensions = append(ip.Extensions, packet.FragmentHeader(7, offset, d.oneIn(2)))
		} else {
			ip.MF, ip.Offset = d.oneIn(2), offset
		}
		out = x.carrying(d, &ip, segment, inwards)
	case 5:
		return d.otherProtocol(ip)
	default:
		out = x.error(d, ip, inwards)
	}
	if d.oneIn(3) {
		out = d.damage(out)
	}
	return out[:min(len(out), mostBytes-100)]
}

func (x Direct) segment(d *Dice, ip *packet.IP, inwards bool) []byte {
	segment := d.segment(ip)
	binary.BigEndian.PutUint16(segment[vipsPort(inwards):], pick(d, x.Ports))
	return segment
}

// vipsPort is where a segment has it.
func vipsPort(inwards bool) int {
	if inwards {
		return 2
	}
	return 0
}

// carrying is a packet whose checksum is now and then one of those that mean
// something of UDP and nothing of TCP, or becomes such a one when the port is mapped.
func (x Direct) carrying(d *Dice, ip *packet.IP, segment []byte, inwards bool) []byte {
	out := ip.Packet(segment)
	if !d.oneIn(4) {
		return out
	}
	at := 16
	if ip.Protocol == packet.UDPIP {
		at = 6
	}
	sum := out[len(out)-len(segment)+at:]
	port := binary.BigEndian.Uint16(segment[vipsPort(inwards):])
	becomesZero := packet.Sum(uint32(^port)+uint32(pick(d, x.Ports)), nil)
	binary.BigEndian.PutUint16(sum, pick(d, []uint16{0, 0xffff, becomesZero, becomesZero}))
	return out
}

// error quotes a packet that had gone the other way.
func (x Direct) error(d *Dice, ip packet.IP, inwards bool) []byte {
	quoted := d.ip()
	if quoted.V6() != ip.V6() {
		quoted = packet.IP{}
	}
	quoted.From, quoted.To = ip.To, ip.From
	if d.oneIn(4) && inwards {
		ip.From = pick(d, clientsOf(ip.V6()))
	}
	segment := x.segment(d, &quoted, !inwards)
	quote := x.carrying(d, &quoted, segment, !inwards)
	headers := len(quote) - len(segment)
	quote = quote[:min(len(quote), headers+pick(d, []int{4, 3, 1, 8, 7, 18, 17, 20, 100}))]
	return d.aboutQuote(ip, quote)
}
