package wild

import (
	"encoding/binary"
	"slices"

	"github.com/pointsman/pointsman/test/packet"
)

// damage hurts a frame in one to three ways.
func (d *Dice) damage(frame []byte) []byte {
	for range 1 + d.Roll(3) {
		at := d.place(frame)
		switch d.Roll(8) {
		case 0, 1:
			frame[at] ^= 1 << d.Roll(8)
		case 2:
			frame[at] = byte(d.Roll(256))
		case 3:
			frame[at] = pick(d, []byte{0, 0xff, 0x7f, 1, 0x45, 0x46, 0x60, 44, 6, 17, 58})
		case 4:
			frame = frame[:max(least, at)]
		case 5: // a length that lies by little
			length := binary.BigEndian.Uint16(frame[min(at, len(frame)-2):])
			binary.BigEndian.PutUint16(frame[min(at, len(frame)-2):], length+uint16(d.Roll(9))-4)
		case 6: // a slice twice
			to := min(len(frame), at+1+d.Roll(24))
			frame = slices.Insert(frame, to, slices.Clone(frame[at:to])...)
		case 7: // a slice gone
			to := min(len(frame), at+1+d.Roll(24))
			frame = slices.Delete(frame, at, to)
		}
		for len(frame) < least {
			frame = append(frame, 0)
		}
		frame = frame[:min(len(frame), mostBytes)]
	}
	return frame
}

// damageFrame does so to a frame, which is judged by more than its IPv4 header's
// checksum where that is right again.
func (d *Dice) damageFrame(frame []byte) []byte {
	frame = d.damage(frame)
	ip := binary.BigEndian.Uint16(frame[12:])
	at := 14
	for ; (ip == packet.TypeTag || ip == packet.TypeServiceTag) && len(frame) >= at+4; at += 4 {
		ip = binary.BigEndian.Uint16(frame[at+2:])
	}
	if d.oneIn(4) || ip != packet.TypeIPv4 || len(frame) < at+20 {
		return frame
	}
	header := frame[at:min(len(frame), at+max(20, int(frame[at]&15)*4))]
	copy(header[10:], []byte{0, 0})
	binary.BigEndian.PutUint16(header[10:], ^packet.Sum(0, header))
	return frame
}

// least is the shortest frame that BPF_PROG_TEST_RUN takes.
const least = 14

// place is mostly in the headers, and often where a length is.
func (d *Dice) place(frame []byte) int {
	at := 0
	switch d.Roll(4) {
	case 0:
		at = pick(d, []int{12, 14, 16, 17, 18, 20, 21, 23, 26, 38, 39, 46, 47, 52, 58})
	case 1, 2:
		at = d.Roll(128)
	case 3:
		at = d.wide() * len(frame) >> 16
	}
	return min(at, len(frame)-1)
}
