package oracle

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// passage is how a packet of a connection leaves, in either direction.
type passage struct {
	source, destination netip.AddrPort
	hop                 hop
	longest             int // packet that the way takes
}

func (w *passage) v6() bool { return w.destination.Addr().Is6() }

// translate gives a packet the other ends of its connection, and between families
// the other header (RFC 7915). Nothing objects if the fate has no outcome.
func (b *Balancer) translate(p *packet, way passage) Fate {
	if p.isICMP() {
		return b.translateError(p, way)
	}
	crosses := way.v6() != p.v6
	if crosses && p.isDamaged() {
		return p.rejected(DropBadChecksum)
	}
	longest := way.longest
	if crosses {
		longest += p.headers - fixedHeader(way.v6())
	}
	if p.fragment != nil && !p.v6 && way.v6() {
		longest -= fragmentHeaderSize
	}
	switch {
	case p.length > longest:
		return b.tooBig(p, longest)
	case p.hops() <= 1:
		return p.rejected(DropTTL)
	}
	if p.fragment != nil && !p.hasCounterpart(way) {
		return p.rejected(DropNATFamily)
	}
	if crosses {
		if fate, objects := b.leaveOut(p); objects {
			return fate
		}
	}
	if p.fragment != nil {
		return b.translateFragment(p, way)
	}
	header, free := p.header(way)
	ip := slices.Concat(header, p.transportOf(way), p.ip()[p.length:])
	return b.leave(p, way, ip, free)
}

// leave is the fate of a packet that goes on as another.
func (b *Balancer) leave(p *packet, way passage, ip []byte, freeID bool) Fate {
	frame := linkTo(way.hop, typeOf(way.v6()))
	fate := Fate{Frame: append(frame, ip...)}
	if freeID {
		fate.FreeID = len(frame)
	}
	if len(fate.Frame)-len(p.arrival.Frame) > p.arrival.Headroom {
		return p.rejected(DropNoHeadroom)
	}
	fate.Verdict = Redirect
	if way.hop.Interface == p.arrival.Interface {
		fate.Verdict = TX
	} else if !b.Tables.Egress[way.hop.Interface] {
		return p.rejected(DropNoEgress)
	}
	return fate
}

// hops is how far a packet may still go.
func (p *packet) hops() uint8 {
	if p.v6 {
		return p.ip()[hopLimitOffset]
	}
	return p.ip()[ttlOffset]
}

func fixedHeader(v6 bool) int {
	if v6 {
		return ipv6Size
	}
	return ipv4Size
}

func typeOf(v6 bool) uint16 {
	if v6 {
		return typeIPv6
	}
	return typeIPv4
}

// leastMTU is the longest IPv6 packet that no link is too small for, less what
// IPv4's header is shorter: RFC 7915, section 5.1.
const leastMTU = 1260

// header is that of a packet as it leaves. In the same family it stays, with its
// options; those of the other family have no counterpart. Of an IPv4 header that
// is new and whose packet may be fragmented, the identification is anybody's choice.
func (p *packet) header(way passage) (header []byte, freeID bool) {
	payload, source, destination := p.length-p.headers, way.source.Addr().AsSlice(), way.destination.Addr().AsSlice()
	switch {
	case p.v6 && way.v6():
		header = bytes.Clone(p.ip()[:p.headers])
		header[hopLimitOffset]--
		copy(header[ipv6AddressesOffset:], slices.Concat(source, destination))
	case !p.v6 && !way.v6():
		header = bytes.Clone(p.ip()[:p.headers])
		wrong := sum(header, 0)
		header[ttlOffset]--
		copy(header[ipv4AddressesOffset:], slices.Concat(source, destination))
		putAsWrong(header, ipv4ChecksumOffset, 0, wrong)
	case way.v6(): // RFC 7915, section 4.1
		header = outer{p.tos, p.protocol, way.source.Addr(), way.destination.Addr()}.ipv6(payload, 0)
		header[hopLimitOffset] = p.hops() - 1
	default: // section 5.1
		header = outer{p.tos, p.protocol, way.source.Addr(), way.destination.Addr()}.ipv4(payload)
		header[ttlOffset] = p.hops() - 1
		if freeID = len(header)+payload <= leastMTU; freeID {
			header[6] = 0
		}
		putIPv4Checksum(header)
	}
	return header, freeID
}

func putIPv4Checksum(header []byte) {
	copy(header[ipv4ChecksumOffset:], []byte{0, 0})
	putChecksum(header[ipv4ChecksumOffset:], sum(header[:ipv4Size], 0))
}

// transportOf is the transport header and its payload with the other ports. What
// was wrong about its checksum stays wrong. What is not there yet is summed up: the
// field has no more than the pseudo header's sum where a socket left the rest to
// hardware; UDP over IPv6 must have one (RFC 8200, section 8.1, and RFC 7915,
// section 4.5), UDP over IPv4 need not (RFC 768).
func (p *packet) transportOf(way passage) []byte {
	segment := bytes.Clone(p.ip()[p.headers:p.length])
	covered, at := segment, checksumOffset(p.protocol)
	udp := p.protocol == protocolUDP
	if udp {
		covered = segment[:be16(segment[4:])]
	}
	before := pseudoHeader(p.source.AsSlice(), p.destination.AsSlice(), len(covered), p.protocol)
	after := pseudoHeader(way.source.Addr().AsSlice(), way.destination.Addr().AsSlice(), len(covered), p.protocol)
	checksum, wrong := be16(segment[at:]), sum(covered, before)
	binary.BigEndian.PutUint16(segment, way.source.Port())
	binary.BigEndian.PutUint16(segment[2:], way.destination.Port())
	switch {
	case udp && checksum == 0 && (p.v6 || !way.v6()):
		return segment
	case udp && checksum == 0, checksum == int(fold(before)):
		wrong = 0xffff // nothing
	}
	putAsWrong(covered, at, after, wrong)
	if udp && be16(segment[at:]) == 0 {
		copy(segment[at:], []byte{0xff, 0xff}) // RFC 768
	}
	return segment
}

func checksumOffset(protocol uint8) int {
	if protocol == protocolUDP {
		return 6
	}
	return 16
}

// putAsWrong puts the checksum there with which everything sums up to as much as
// it did before; 0xffff, or zero, is right. By RFC 1624 it is never 0xffff itself.
func putAsWrong(covered []byte, at int, begun, wrong uint32) {
	copy(covered[at:], []byte{0, 0})
	checksum := fold(wrong + uint32(^uint16(sum(covered, begun))))
	binary.BigEndian.PutUint16(covered[at:], uint16(checksum%0xffff))
}
