package oracle

import (
	"encoding/binary"
	"net/netip"
)

// budget bounds how many errors are sent.
type budget struct{ second, sent uint32 }

// spend tells whether one more error may be sent in a second.
func (b *budget) spend(second, limit uint32) bool {
	if b.second != second {
		*b = budget{second: second}
	}
	if b.sent >= limit {
		return false
	}
	b.sent++
	return true
}

// tooBig tells the sender of a packet that does not fit its path which size does. IPv4 without DF gets the same answer: Linux and others learn
// from it and fragment themselves, and tunnels are never fragmented.
func (b *Balancer) tooBig(p *packet, mtu int) Fate {
	if p.isICMP() || p.isLaterFragment() || !p.mayBeAnswered() || !b.errors.spend(p.arrival.Second, b.ErrorsPerSecond) {
		return p.rejected(DropTooBig)
	}
	outcome := ReplyTooBig
	if !p.v6 && !p.dontFrag {
		outcome = ReplyTooBigNoDF
	}
	headers, reply := ipv4Size+icmpSize, p.fragmentationNeeded(mtu)
	if p.v6 {
		headers, reply = ipv6Size+icmpSize, p.packetTooBig(mtu)
	}
	if headers > p.arrival.Headroom {
		return p.rejected(DropNoHeadroom)
	}
	return Fate{Outcome: outcome, Verdict: TX, Frame: append(p.replyLink(), reply...)}
}

// mayBeAnswered tells whether a packet came from one host and to one.
func (p *packet) mayBeAnswered() bool {
	return !p.isToGroup() && !isNoHost(p.source)
}

// isToGroup tells whether the frame is to many: swapped addresses would make the
// group its source.
func (p *packet) isToGroup() bool { return p.arrival.Frame[0]&1 == 1 }

// isNoHost tells sources that an error may not be sent to: RFC 1122, section
// 3.2.2, and RFC 4443, section 2.4 (e).
func isNoHost(source netip.Addr) bool {
	if source.Is4() {
		first := source.As4()[0]
		return first == 0 || first == 127 || first >= 224
	}
	return source == netip.IPv6Unspecified() || source == netip.IPv6Loopback() || source.As16()[0] == 0xff
}

// fragmentationNeeded is RFC 792's type 3 code 4 with RFC 1191's MTU. It quotes
// what fits 576 bytes (RFC 1812, section 4.3.2.3), and is internetwork control
// (section 4.3.2.5).
func (p *packet) fragmentationNeeded(mtu int) []byte {
	quoted := p.ip()[:min(p.length, 576-ipv4Size-icmpSize)&^3]
	message := append([]byte{unreachable, codeFragmentationDF, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
	putChecksum(message[icmpChecksumOffset:], sum(message, 0))
	from := outer{tos: 0xc0, protocol: protocolICMP, source: p.destination, destination: p.source}
	return append(from.ipv4(len(message)), message...)
}

// packetTooBig is RFC 4443, section 3.2. It quotes what fits the minimal MTU.
func (p *packet) packetTooBig(mtu int) []byte {
	quoted := p.ip()[:min(p.length, 1280-ipv6Size-icmpSize)&^3]
	message := binary.BigEndian.AppendUint32([]byte{tooBigV6, 0, 0, 0}, uint32(mtu))
	message = append(message, quoted...)
	pseudo := pseudoHeader(p.destination.AsSlice(), p.source.AsSlice(), len(message), protocolICMPv6)
	putChecksum(message[icmpChecksumOffset:], sum(message, pseudo))
	from := outer{protocol: protocolICMPv6, source: p.destination, destination: p.source}
	return append(from.ipv6(len(message), 0), message...)
}
