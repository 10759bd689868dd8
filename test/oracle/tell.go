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

// errorHead is what an ICMP error says: type, code and second word.
type errorHead struct {
	kind, code uint8
	word       uint32
}

// tell answers a packet by an error, if there is somebody to tell: no error is about
// an error, or a fragment without ports.
func (b *Balancer) tell(p *packet, head errorHead, told, untold Outcome) Fate {
	if p.isICMP() || p.isLaterFragment() || !p.mayBeAnswered() || !b.errors.spend(p.arrival.Second, b.ErrorsPerSecond) {
		return p.rejected(untold)
	}
	headers, reply := ipv4Size+icmpSize, p.icmpAnswer(head)
	if p.v6 {
		headers, reply = ipv6Size+icmpSize, p.icmpv6Answer(head)
	}
	if headers > p.arrival.Headroom {
		return p.rejected(DropNoHeadroom)
	}
	return Fate{Outcome: told, Verdict: TX, Frame: append(p.replyLink(), reply...)}
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

// icmpAnswer is RFC 792's. It quotes what fits 576 bytes (RFC 1812, section 4.3.2.3),
// and is internetwork control (section 4.3.2.5).
func (p *packet) icmpAnswer(head errorHead) []byte {
	message := head.quoting(p.ip()[:min(p.length, 576-ipv4Size-icmpSize)&^3])
	putChecksum(message[icmpChecksumOffset:], sum(message, 0))
	from := outer{tos: 0xc0, protocol: protocolICMP, source: p.destination, destination: p.source}
	return append(from.ipv4(len(message)), message...)
}

// icmpv6Answer is RFC 4443's. It quotes what fits the minimal MTU.
func (p *packet) icmpv6Answer(head errorHead) []byte {
	message := head.quoting(p.ip()[:min(p.length, 1280-ipv6Size-icmpSize)&^3])
	pseudo := pseudoHeader(p.destination.AsSlice(), p.source.AsSlice(), len(message), protocolICMPv6)
	putChecksum(message[icmpChecksumOffset:], sum(message, pseudo))
	from := outer{protocol: protocolICMPv6, source: p.destination, destination: p.source}
	return append(from.ipv6(len(message), 0), message...)
}

func (h errorHead) quoting(quoted []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{h.kind, h.code, 0, 0}, h.word), quoted...)
}
