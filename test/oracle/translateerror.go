package oracle

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// translateError writes an ICMP error about a connection anew, from the balancer's
// end of it: routers of one family have no address in the other. The packet that it
// quotes had gone the other way (RFC 7915, sections 4.2, 4.3, 5.2 and 5.3).
func (b *Balancer) translateError(p *packet, way passage) Fate {
	message, quoted := p.ip()[p.headers:p.length], p.quoted
	if p.isDamaged() || !p.isRight(message) { // which new checksums would hide
		return p.rejected(DropBadChecksum)
	}
	if p.hops() <= 1 {
		return p.rejected(DropTTL)
	}
	head := bytes.Clone(message[:icmpSize])
	if way.v6() != p.v6 {
		if fate, objects := b.leaveOut(p); objects {
			return fate
		}
		translated, known := translateHead(head, p.v6, quoted.inner.fragment != nil)
		if !known {
			return p.rejected(DropNATFamily)
		}
		head = translated
	}
	copy(head[icmpChecksumOffset:], []byte{0, 0})
	size := fixedHeader(way.v6())
	header := quoted.header(way)
	if quoted.inner.fragment != nil {
		header = b.headerOfQuotedFragment(quoted, header, way)
	}
	message = slices.Concat(head, header, quoted.transportOfQuote(way))
	if size+len(message) > way.longest {
		return p.rejected(DropTooBig)
	}
	o := outer{0xc0, protocolICMP, way.source.Addr(), way.destination.Addr()}
	begun := uint32(0)
	var ip []byte
	if way.v6() {
		o.tos, o.protocol = 0, protocolICMPv6
		begun = pseudoHeader(way.source.Addr().AsSlice(), way.destination.Addr().AsSlice(), len(message), protocolICMPv6)
		ip = o.ipv6(len(message), 0)
		ip[hopLimitOffset] = p.hops() - 1
	} else {
		ip = o.ipv4(len(message))
		ip[ttlOffset] = p.hops() - 1
		putIPv4Checksum(ip)
	}
	putChecksum(message[icmpChecksumOffset:], sum(message, begun))
	return b.leave(p, way, slices.Concat(ip, message, p.ip()[p.length:]), false)
}

// isRight tells whether a message's checksum is.
func (p *packet) isRight(message []byte) bool {
	begun := uint32(0)
	if p.v6 {
		begun = pseudoHeader(p.source.AsSlice(), p.destination.AsSlice(), len(message), protocolICMPv6)
	}
	return sum(message, begun) == 0xffff
}

// header is that of the quoted packet as its receiver had sent it: what it says of
// itself stays, but for options. IPv6 is never fragmented on its way. As of a whole
// packet.
func (q *quote) header(way passage) []byte {
	o := outer{q.inner.tos, q.inner.protocol, way.destination.Addr(), way.source.Addr()}
	said := q.inner.length - q.inner.headers
	if way.v6() {
		header := o.ipv6(said, 0)
		header[hopLimitOffset] = q.inner.hops()
		return header
	}
	header := o.ipv4(said)
	header[ttlOffset] = q.inner.hops()
	if !q.inner.v6 {
		copy(header[4:8], q.inner.ip()[4:8])
	}
	putIPv4Checksum(header)
	return header
}

// transportOfQuote is as much of the quoted segment as there is; its checksum
// changes by the ends, if it is there.
func (q *quote) transportOfQuote(way passage) []byte {
	at := checksumOffset(q.inner.protocol)
	segment := q.inner.transport()
	summed := len(segment) >= at+2 && be16(segment[at:]) != 0
	return q.inner.withEnds(segment, way.destination, way.source, summed)
}

// withEnds is a part of a segment with other ends, by which its checksum changes if
// it is there.
func (p *packet) withEnds(segment []byte, source, destination netip.AddrPort, summed bool) []byte {
	segment = bytes.Clone(segment)
	at := checksumOffset(p.protocol)
	ends := func(source, destination []byte, ports []byte) uint32 {
		return sum(ports, sum(source, sum(destination, 0)))
	}
	before := ends(p.source.AsSlice(), p.destination.AsSlice(), segment[:4])
	binary.BigEndian.PutUint16(segment, source.Port())
	binary.BigEndian.PutUint16(segment[2:], destination.Port())
	after := ends(source.Addr().AsSlice(), destination.Addr().AsSlice(), segment[:4])
	if !summed {
		return segment
	}
	sum := fold(uint32(be16(segment[at:])) + fold(before) + uint32(^uint16(fold(after))))
	binary.BigEndian.PutUint16(segment[at:], uint16(sum%0xffff))
	if p.protocol == protocolUDP && be16(segment[at:]) == 0 {
		copy(segment[at:], []byte{0xff, 0xff})
	}
	return segment
}

// The families' headers differ by so many bytes, and MTUs with them.
const headersDiffer = ipv6Size - ipv4Size

// translateHead is type, code and second word of an error in the other family, if
// it has such a one. A fragment grows in IPv6 by its own header, too.
func translateHead(head []byte, fromV6, aboutFragment bool) ([]byte, bool) {
	shorter := uint32(headersDiffer)
	if aboutFragment {
		shorter += fragmentHeaderSize
	}
	kind, code, word := head[0], head[1], be32(head[4:])
	write := func(kind, code uint8, word uint32) ([]byte, bool) {
		return binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, word), true
	}
	switch {
	case fromV6 && kind == timeExceededV6:
		return write(timeExceeded, code, 0)
	case fromV6 && kind == tooBigV6:
		return write(unreachable, codeFragmentationDF, max(min(word, 0xffff), 1280)-shorter)
	case fromV6 && kind == parameterProblemV6 && code == 1: // unrecognized next header
		return write(unreachable, 2, 0)
	case fromV6 && kind == unreachableV6:
		// No route, prohibited, beyond scope, address, port: host, host prohibited, host, host, port.
		code, known := map[uint8]uint8{0: 1, 1: 10, 2: 1, 3: 1, 4: 3}[code]
		if known {
			return write(unreachable, code, 0)
		}
	case !fromV6 && kind == timeExceeded:
		return write(timeExceededV6, code, 0)
	case !fromV6 && kind == unreachable:
		return translateUnreachable(code, word&0xffff, write)
	}
	return nil, false
}

// translateUnreachable is RFC 7915, section 4.2. Routers that tell no MTU get the
// least, where the RFC would guess by the packet's length.
func translateUnreachable(code uint8, mtu uint32, write func(kind, code uint8, word uint32) ([]byte, bool)) ([]byte, bool) {
	switch code {
	case 0, 1, 5, 6, 7, 8, 11, 12: // no route
		return write(unreachableV6, 0, 0)
	case 2: // protocol: the next header's offset is 6
		return write(parameterProblemV6, 1, 6)
	case 3: // port
		return write(unreachableV6, 4, 0)
	case codeFragmentationDF:
		return write(tooBigV6, 0, max(mtu+headersDiffer, 1280))
	case 9, 10, 13, 15: // prohibited
		return write(unreachableV6, 1, 0)
	}
	return nil, false
}
