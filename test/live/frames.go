package main

import (
	"encoding/binary"
	"net/netip"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/packet"
	"github.com/pointsman/pointsman/test/traffic"
)

// The VIP's ports: frames go to one, connections to the other. Behind a balancer
// that rewrites addresses the former is reflectPort of the backends.
const (
	framePort   = 80
	reflectPort = 9000
	askPort     = 443
)

var vip = lab.VIP4(10)

// kind is what frames are sent.
type kind struct {
	name     string
	protocol uint8
	flags    byte // of TCP
	flowBits int  // 2^flowBits flows; each comes once before any comes again
}

// Offsets in a frame without tags or options.
const (
	etherTypeAt, protocolAt, headerSumAt = 12, 23, 24
	sourceAt, destinationAt              = 26, 30
	sourcePortAt, destinationPortAt      = 34, 36
	sequenceAt, acknowledgementAt        = 38, 42
	flagsAt, segmentSumAt, datagramSumAt = 47, 50, 40
)

// firstSequence is of every segment: far from where adding to it carries.
const firstSequence = 1000

// frame is a packet of the flow whose source is zero, with 64 bytes of payload, and
// no checksums: the program that sends it has to complete them.
func (k kind) frame(from, to packet.MAC) []byte {
	payload := make([]byte, 64)
	segment := packet.UDP(0, framePort, payload)
	if k.protocol == packet.TCPIP {
		segment = packet.TCP(0, framePort, k.flags, nil, payload)
		sequence, acknowledged := uint32(firstSequence), uint32(0)
		if k.flags&packet.ACK != 0 { // to the SYN-ACK that the reflector makes of the SYN
			sequence, acknowledged = firstSequence+1, 1
		}
		binary.BigEndian.PutUint32(segment[sequenceAt-sourcePortAt:], sequence)
		binary.BigEndian.PutUint32(segment[acknowledgementAt-sourcePortAt:], acknowledged)
	}
	nobody := netip.AddrFrom4([4]byte{})
	ip := packet.IP{From: nobody, To: vip, Protocol: k.protocol, TTL: 64, DF: true}
	frame := packet.Ethernet{From: from, To: to}.Around(ip.Packet(segment))
	binary.BigEndian.PutUint16(frame[headerSumAt:], 0)
	binary.BigEndian.PutUint16(frame[k.sumAt():], 0)
	return frame
}

func (k kind) sumAt() int {
	if k.protocol == packet.TCPIP {
		return segmentSumAt
	}
	return datagramSumAt
}

// sums are those over the IP header, and over the rest and its pseudo header, of a
// frame of kind.frame, as numbers of this machine.
func (k kind) sums(frame []byte) (header, segment uint32) {
	native := func(sum uint16) uint32 {
		return uint32(binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, sum)))
	}
	rest := frame[sourcePortAt:]
	pseudo := uint32(k.protocol) + uint32(len(rest)) + uint32(packet.Sum(0, frame[sourceAt:sourcePortAt]))
	return native(packet.Sum(0, frame[14:sourcePortAt])), native(packet.Sum(pseudo, rest))
}

// senders is where frames come from, as a number: the network, and the bits of it.
func senders() (network, mask uint32) {
	base := traffic.FloodNet.Addr().As4()
	return binary.BigEndian.Uint32(base[:]), ^uint32(0) << (32 - traffic.FloodNet.Bits())
}
