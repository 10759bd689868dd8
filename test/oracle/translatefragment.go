package oracle

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

const fragmentHeaderSize = 8 // RFC 8200, section 4.5

// translateFragment is translate for what is part of a packet: only the first part
// has ports, and nobody sees all of what the checksum is of (RFC 7915, sections 4.1,
// 4.5 and 5.1.1).
func (b *Balancer) translateFragment(p *packet, way passage) Fate {
	payload := p.ip()[p.headers:p.length]
	if p.isFirstFragment() {
		summed := p.protocol != protocolUDP || be16(payload[checksumOffset(p.protocol):]) != 0
		payload = p.withEnds(payload, way.source, way.destination, summed)
	}
	header := p.headerOfFragment(way, p.fragment.id+b.spread(p.source))
	return b.leave(p, way, slices.Concat(header, payload, p.ip()[p.length:]), false)
}

// spread is by how much the identifications of a sender's fragments move on: many
// senders are behind one address then, and RFC 6864 wants them told apart.
func (b *Balancer) spread(sender netip.Addr) uint32 {
	return b.Hash.Entropy(netip.AddrPortFrom(sender, 0), dataplane.VIP{}, dataplane.VIPEntry{AffinityClient: true})
}

// hasCounterpart tells whether a fragment can be one of the other family. Offsets
// count headers behind the fragment header, which IPv4 has not; IPv6 wants UDP to
// have a checksum, and it cannot be computed.
func (p *packet) hasCounterpart(way passage) bool {
	switch {
	case p.v6 == way.v6():
		return true
	case p.protocol != protocolTCP && p.protocol != protocolUDP:
		return false
	case p.v6:
		return p.fragment.at+fragmentHeaderSize == p.headers
	case p.protocol == protocolUDP && p.isFirstFragment():
		return be16(p.transport()[checksumOffset(protocolUDP):]) != 0
	}
	return true
}

// headerOfFragment is all of its headers as it leaves.
func (p *packet) headerOfFragment(way passage, id uint32) []byte {
	if p.v6 == way.v6() {
		header, _ := p.header(way)
		if p.v6 {
			binary.BigEndian.PutUint32(header[p.fragment.at+4:], id)
			return header
		}
		wrong := sum(header, 0)
		binary.BigEndian.PutUint16(header[4:], uint16(id))
		putAsWrong(header, ipv4ChecksumOffset, 0, wrong)
		return header
	}
	o := outer{p.tos, p.protocol, way.source.Addr(), way.destination.Addr()}
	header := o.ofFragment(p.length-p.headers, *p.fragment, id)
	if way.v6() {
		header[hopLimitOffset] = p.hops() - 1
		return header
	}
	header[ttlOffset] = p.hops() - 1
	putIPv4Checksum(header)
	return header
}

// ofFragment is a new header: IPv6's in two parts, IPv4's without DF.
func (o outer) ofFragment(payload int, f fragment, id uint32) []byte {
	if o.destination.Is6() {
		next := o.protocol
		o.protocol = fragmented
		header := append(o.ipv6(fragmentHeaderSize+payload, 0), next, 0)
		header = binary.BigEndian.AppendUint16(header, uint16(f.offset<<3)|flag(f.more, 1))
		return binary.BigEndian.AppendUint32(header, id)
	}
	header := o.ipv4(payload)
	binary.BigEndian.PutUint16(header[4:], uint16(id))
	binary.BigEndian.PutUint16(header[6:], uint16(f.offset)|flag(f.more, 0x2000))
	return header
}

func flag(set bool, bit uint16) uint16 {
	if set {
		return bit
	}
	return 0
}

// headerOfQuotedFragment is that of a quoted packet as its sender had sent it, made
// of the one that it would have whole.
func (b *Balancer) headerOfQuotedFragment(q *quote, whole []byte, way passage) []byte {
	f := *q.inner.fragment
	id := f.id - b.spread(way.destination.Addr())
	if !way.v6() && !q.inner.v6 {
		header := bytes.Clone(whole)
		binary.BigEndian.PutUint16(header[4:], uint16(id))
		putIPv4Checksum(header)
		return header
	}
	o := outer{q.inner.tos, q.inner.protocol, way.destination.Addr(), way.source.Addr()}
	header := o.ofFragment(q.inner.length-q.inner.headers, f, id)
	if way.v6() {
		header[hopLimitOffset] = q.inner.hops()
		return header
	}
	header[ttlOffset] = q.inner.hops()
	putIPv4Checksum(header)
	return header
}
