package wild

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/test/packet"
)

// got is a packet as who gets it reads it.
type got struct {
	ip       []byte
	from, to netip.AddrPort
	protocol uint8
	segment  []byte // to the frame's end
}

// readFrame reads a frame without extension headers, as programs send them.
func readFrame(frame []byte) (g got, ok bool) {
	at := 12
	for len(frame) > at+6 && (binary.BigEndian.Uint16(frame[at:]) == packet.TypeTag || binary.BigEndian.Uint16(frame[at:]) == packet.TypeServiceTag) {
		at += 4
	}
	g.ip = frame[at+2:]
	var from, to netip.Addr
	switch {
	case len(g.ip) >= 28 && g.ip[0]>>4 == 4 && len(g.ip) > int(g.ip[0]&15)*4:
		from, to = netip.AddrFrom4([4]byte(g.ip[12:])), netip.AddrFrom4([4]byte(g.ip[16:]))
		g.protocol, g.segment = g.ip[9], g.ip[int(g.ip[0]&15)*4:]
	case len(g.ip) >= 48 && g.ip[0]>>4 == 6:
		from, to = netip.AddrFrom16([16]byte(g.ip[8:])), netip.AddrFrom16([16]byte(g.ip[24:]))
		g.protocol, g.segment = g.ip[6], g.ip[40:]
	default:
		return g, false
	}
	if g.protocol != packet.UDPIP && g.protocol != packet.TCPIP || len(g.segment) < 8 || g.protocol == packet.TCPIP && len(g.segment) < 20 {
		return g, false
	}
	g.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(g.segment))
	g.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(g.segment[2:]))
	return g, true
}

// answer is what comes back for a packet that was translated: by and large what its
// receiver sends, or an error from the way.
func (d *Dice) answer(frame []byte) []byte {
	g, ok := readFrame(frame)
	if !ok {
		return nil
	}
	ip := d.ip()
	if ip.V6() != g.to.Addr().Is6() {
		ip.Options, ip.Extensions = nil, nil
	}
	ip.From, ip.To, ip.Protocol = g.to.Addr(), g.from.Addr(), g.protocol
	if d.oneIn(6) {
		return d.errorOnTheWay(ip, g)
	}
	var segment []byte
	if g.protocol == packet.UDPIP {
		segment = packet.UDP(g.to.Port(), g.from.Port(), d.payload())
	} else {
		segment = d.segmentBack(g)
	}
	out := d.link().Frame(ip.Packet(segment))
	if d.oneIn(8) {
		d.leaveSum(out)
	}
	if d.oneIn(8) {
		out = d.damageFrame(out)
	}
	return out[:min(len(out), mostBytes)]
}

// segmentBack opens, goes on, closes or resets.
func (d *Dice) segmentBack(g got) []byte {
	flags := pick(d, []uint8{packet.ACK, packet.ACK, packet.PSH | packet.ACK, packet.FIN | packet.ACK, packet.FIN | packet.ACK,
		packet.RST, packet.RST | packet.ACK, packet.SYN, packet.SYN | packet.ACK})
	heard := g.segment[13]
	if heard&(packet.SYN|packet.ACK) == packet.SYN && !d.oneIn(6) {
		flags = packet.SYN | packet.ACK
	}
	segment := packet.TCP(g.to.Port(), g.from.Port(), flags, nil, d.payload())
	acknowledged := binary.BigEndian.Uint32(g.segment[4:]) + uint32(pick(d, []int{1, 1, 1, 1, 2, 0, 65535, 65536, 65537}))
	binary.BigEndian.PutUint32(segment[4:], pick(d, []uint32{binary.BigEndian.Uint32(g.segment[8:]), 7, 0xffffffff, 0xfffffff0}))
	binary.BigEndian.PutUint32(segment[8:], acknowledged)
	return segment
}

// errorOnTheWay quotes the packet, or as much as a router cares to.
func (d *Dice) errorOnTheWay(ip packet.IP, g got) []byte {
	if d.oneIn(2) {
		ip.From = pick(d, clientsOf(ip.V6()))
	}
	headers := len(g.ip) - len(g.segment)
	quote := g.ip[:min(len(g.ip), headers+pick(d, []int{8, 20, 40, 4, 3, 8, 18, 17, 7, 1500}))]
	frame := d.link().Frame(d.aboutQuote(ip, append([]byte(nil), quote...)))
	if d.oneIn(8) {
		frame = d.damageFrame(frame)
	}
	return frame[:min(len(frame), mostBytes)]
}

// towardsZero is a frame again, of UDP, with something else in it that lets what
// leaves have a checksum of zero: which says that there is none.
func towardsZero(frame, left []byte) []byte {
	in, out := flowOf(frame), flowOf(left)
	if in == nil || out == nil || in.protocol != packet.UDPIP {
		return nil
	}
	frame = slices.Clone(frame)
	came, leaves := binary.BigEndian.Uint16(frame[in.transport+6:]), binary.BigEndian.Uint16(left[out.transport+6:])
	if came == 0 { // it was summed up
		binary.BigEndian.PutUint16(frame[in.transport+8:], packet.Sum(uint32(leaves), frame[in.transport+8:][:2]))
	} else {
		binary.BigEndian.PutUint16(frame[in.transport+6:], packet.Sum(uint32(came)+uint32(^leaves), nil))
	}
	return frame
}

// leaveSum leaves the checksum of a plain frame to others: a socket's to hardware,
// or a datagram's to nobody.
func (d *Dice) leaveSum(frame []byte) {
	f := flowOf(frame)
	if f == nil {
		return
	}
	at := f.transport + 16
	var length int
	if frame[14]>>4 == 4 {
		length = int(binary.BigEndian.Uint16(frame[16:])) - 20
	} else {
		length = int(binary.BigEndian.Uint16(frame[18:]))
	}
	if f.protocol == packet.UDPIP {
		at, length = f.transport+6, int(binary.BigEndian.Uint16(frame[f.transport+4:]))
		if length > 8 && d.oneIn(3) { // behind it is what nobody sums up
			length -= d.Roll(min(length-7, 256))
			binary.BigEndian.PutUint16(frame[f.transport+4:], uint16(length))
		}
	}
	sum := packet.Sum(uint32(f.protocol)+uint32(length), append(f.from.Addr().AsSlice(), f.to.Addr().AsSlice()...))
	if f.protocol == packet.UDPIP {
		sum = pick(d, []uint16{sum, 0, 0, 0xffff})
	}
	binary.BigEndian.PutUint16(frame[at:], sum)
}
