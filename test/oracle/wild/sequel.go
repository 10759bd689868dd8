package wild

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/test/packet"
)

// past is how many frames others may follow up on.
const past = 4

// frame is a new one, or one that has to do with what came before: flows have more
// than one packet.
func (c *Case) frame(d *Dice) []byte {
	if c.translated[0] != nil && d.oneIn(16) {
		if frame := towardsZero(c.translated[0], c.translated[1]); frame != nil {
			return frame
		}
	}
	if len(c.left) > 0 && !d.oneIn(3) {
		if frame := d.answer(pick(d, c.left)); frame != nil {
			return frame
		}
	}
	if len(c.past) > 0 {
		switch before := pick(d, c.past); d.Roll(8) {
		case 5, 6:
			return d.again(before)
		case 7:
			if frame := d.errorAbout(before); frame != nil {
				return frame
			}
		}
	}
	frame := d.frame()
	if d.oneIn(8) {
		d.leaveSum(frame)
	}
	if c.past = append(c.past, frame); len(c.past) > past {
		c.past = c.past[1:]
	}
	return frame
}

// again is the same frame: of TCP perhaps with other flags, of a first fragment
// perhaps the next one, and damaged now and then.
func (d *Dice) again(frame []byte) []byte {
	frame = slices.Clone(frame)
	if d.oneIn(2) {
		if f := flowOf(frame); f != nil && f.protocol == packet.TCPIP {
			frame[f.transport+13] = pick(d, []uint8{packet.ACK, packet.SYN, packet.FIN | packet.ACK, packet.RST})
		}
		d.nextFragment(frame)
	}
	if d.oneIn(4) {
		frame = d.damageFrame(frame)
	}
	return frame
}

// nextFragment makes of a first fragment a later one.
func (d *Dice) nextFragment(frame []byte) {
	const moreIPv4, moreIPv6 = 0x2000, 1
	if len(frame) < 14+40+8 {
		return
	}
	etherType, bits4, bits6 := binary.BigEndian.Uint16(frame[12:]), frame[14+6:], frame[14+40+2:]
	switch {
	case etherType == packet.TypeIPv4 && binary.BigEndian.Uint16(bits4)&0x3fff == moreIPv4:
		binary.BigEndian.PutUint16(bits4, pick(d, []uint16{0, moreIPv4})|uint16(1+d.Roll(100)))
	case etherType == packet.TypeIPv6 && frame[14+6] == packet.Fragment && binary.BigEndian.Uint16(bits6) == moreIPv6:
		binary.BigEndian.PutUint16(bits6, pick(d, []uint16{0, moreIPv6})|uint16(1+d.Roll(100))<<3)
	}
}

// errorAbout is an ICMP error that quotes the answer to a frame, nil if the frame
// is of no flow.
func (d *Dice) errorAbout(frame []byte) []byte {
	f := flowOf(frame)
	if f == nil {
		return nil
	}
	answer := packet.IP{From: f.to.Addr(), To: f.from.Addr(), Protocol: f.protocol}
	segment := packet.UDP(f.to.Port(), f.from.Port(), make([]byte, 20))
	if f.protocol == packet.TCPIP {
		segment = packet.TCP(f.to.Port(), f.from.Port(), packet.ACK, nil, nil)
	}
	ip := packet.IP{From: pick(d, clientsOf(f.to.Addr().Is6())), To: f.to.Addr()}
	return d.link().Frame(d.aboutQuote(ip, answer.Packet(segment)))
}

// flow is what a plain frame without tags is of.
type flow struct {
	from, to  netip.AddrPort
	protocol  uint8
	transport int // where its header begins
}

func flowOf(frame []byte) *flow {
	var f flow
	var from, to netip.Addr
	switch {
	case len(frame) < 14+40+20:
		return nil
	case binary.BigEndian.Uint16(frame[12:]) == packet.TypeIPv4 && frame[14] == 0x45:
		f.protocol, f.transport = frame[23], 14+20
		from, to = netip.AddrFrom4([4]byte(frame[26:])), netip.AddrFrom4([4]byte(frame[30:]))
	case binary.BigEndian.Uint16(frame[12:]) == packet.TypeIPv6 && frame[14]>>4 == 6:
		f.protocol, f.transport = frame[20], 14+40
		from, to = netip.AddrFrom16([16]byte(frame[22:])), netip.AddrFrom16([16]byte(frame[38:]))
	}
	if f.protocol != packet.TCPIP && f.protocol != packet.UDPIP {
		return nil
	}
	f.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(frame[f.transport:]))
	f.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(frame[f.transport+2:]))
	return &f
}
