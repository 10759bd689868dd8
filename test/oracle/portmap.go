package oracle

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Host is a backend under direct return whose instances listen on other ports than
// the VIP's. It remembers no flow: the address stays the VIP's.
type Host struct {
	VIPs   []netip.Prefix // that it answers for
	Mapped []netip.Addr   // of these, those with mappings
	In     map[PortKey]uint16
	Out    map[PortKey]uint16
}

// PortKey is a port of a VIP: on the way in the VIP's, and what the tunnel names or
// 0; on the way out the instance's.
type PortKey struct {
	VIP      netip.Addr
	Protocol uint8
	Port     uint16
	Named    uint16
}

// What becomes of a packet on a backend, by the names in bpf/decap_types.h.
const (
	Decapsulate         Outcome = "DECAPSULATE"
	PassNotOurVIP       Outcome = "PASS_NOT_OUR_VIP"
	PassInnerCutShort   Outcome = "PASS_INNER_CUT_SHORT"
	PassInnerSenseless  Outcome = "PASS_INNER_SENSELESS"
	PassMappedBack      Outcome = "PASS_MAPPED_BACK"
	DropInnerLength     Outcome = "DROP_INNER_LENGTH"
	DropCongested       Outcome = "DROP_CONGESTED"
	DropNotMapped       Outcome = "DROP_NOT_MAPPED"
	DropInnerUnreadable Outcome = "DROP_INNER_UNREADABLE"
	DropCannotMap       Outcome = "DROP_CANNOT_MAP"
)

// Tunnelled is what comes out of a tunnel that a balancer may send by: the inner
// packet with the frame's padding behind, and what the outer headers say of it.
type Tunnelled struct {
	Inner []byte
	V6    bool // as the outer header promises
	Room  int  // bytes that the outer headers say there are
	ECN   uint8
	Named uint16
}

// Receive is the way in. The packet is the host's with the port of its instance.
func (h *Host) Receive(t Tunnelled) (Outcome, []byte) {
	p := &packet{arrival: Arrival{Frame: t.Inner}, v6: t.V6}
	if min(t.Room, len(t.Inner)) < fixedHeader(t.V6) {
		return PassInnerCutShort, nil
	}
	objection, version := none, t.Inner[0]>>4
	if t.V6 && version == 6 {
		objection = p.readIPv6()
	} else if !t.V6 {
		objection = p.readIPv4()
	}
	if objection != none || t.V6 && version != 6 {
		return PassInnerSenseless, nil
	}
	least := p.headers
	if t.V6 {
		least = ipv6Size
	}
	switch {
	case !slices.ContainsFunc(h.VIPs, func(vip netip.Prefix) bool { return vip.Contains(p.destination) }):
		return PassNotOurVIP, nil
	case p.length < least || p.length > t.Room:
		return DropInnerLength, nil
	}
	inner := bytes.Clone(t.Inner)
	if !carryECN(inner, p.v6, t.ECN) {
		return DropCongested, nil
	}
	if !slices.Contains(h.Mapped, p.destination) && t.Named == 0 {
		return Decapsulate, inner
	}
	if p.broken {
		return DropInnerUnreadable, nil
	}
	spot, found, readable := p.findPort(true)
	switch {
	case !readable:
		return DropInnerUnreadable, nil
	case !found:
		return Decapsulate, inner
	}
	key := spot.key
	key.Named = t.Named
	local, mapped := h.In[key]
	if !mapped && t.Named != 0 {
		return DropNotMapped, nil
	}
	if mapped && !spot.write(inner, local) {
		return DropCannotMap, nil
	}
	return Decapsulate, inner
}

// Send is the way out: an answer from a mapped port leaves as the VIP's. Everything
// else leaves as it is.
func (h *Host) Send(frame []byte) (Outcome, []byte) {
	p, objection := read(Arrival{Frame: frame})
	if objection != none || p.broken || !slices.Contains(h.Mapped, p.source) {
		return PassNotOurVIP, frame
	}
	spot, found, readable := p.findPort(false)
	if !found || !readable {
		return PassNotOurVIP, frame
	}
	to, mapped := h.Out[spot.key]
	if !mapped {
		return PassNotOurVIP, frame
	}
	frame = bytes.Clone(frame)
	if !spot.write(frame[p.link.size:], to) {
		return DropCannotMap, nil
	}
	return PassMappedBack, frame
}

// portSpot is where the port of a VIP stands in an IP packet, and the sums over it.
type portSpot struct {
	key      PortKey
	port     int
	sum      int // the transport's; 0 if a quote ends before it
	errorSum int // of the error that quotes; 0 if there is none
}

// findPort finds the port of the VIP: the destination's of what comes in, the
// source's of what leaves; and of an ICMP error the other one of the packet that it
// quotes, which went the other way.
func (p *packet) findPort(inwards bool) (spot portSpot, found, readable bool) {
	if p.isICMP() {
		spot, found = p.findQuotedPort(inwards)
		return spot, found, true
	}
	if p.isLaterFragment() || p.protocol != protocolTCP && p.protocol != protocolUDP {
		return spot, false, true
	}
	spot = p.portAt(0, !inwards)
	if spot.port+2 > len(p.ip()) {
		return spot, false, false
	}
	spot.key.Port = uint16(be16(p.ip()[spot.port:]))
	// A length of no more than the headers says nothing: what is longer than it can
	// say is not cut up yet.
	if spot.sum+2 > p.length && p.length > p.headers {
		return spot, false, false
	}
	return spot, true, true
}

// portAt is where a TCP or UDP header has the port of its source, or of its
// destination.
func (p *packet) portAt(begin int, source bool) portSpot {
	spot := portSpot{
		key:  PortKey{VIP: p.destination, Protocol: p.protocol},
		port: begin + p.headers + 2, sum: begin + p.headers + checksumOffset(p.protocol),
	}
	if source {
		spot.key.VIP, spot.port = p.source, begin+p.headers
	}
	return spot
}

// findQuotedPort leaves an error as it is whose quote is not what it should be: that
// is its receiver's to judge.
func (p *packet) findQuotedPort(inwards bool) (spot portSpot, found bool) {
	if p.isLaterFragment() || p.cutShort() || len(p.transport()) < icmpSize || !p.isICMPError() {
		return spot, false
	}
	begin := p.headers + icmpSize
	inner := &packet{arrival: Arrival{Frame: p.ip()[begin:]}}
	objection := none
	if p.v6 {
		objection = inner.readIPv6()
	} else {
		objection = inner.readIPv4()
	}
	if objection != none || inner.broken || inner.isLaterFragment() ||
		inner.protocol != protocolTCP && inner.protocol != protocolUDP {
		return spot, false
	}
	spot = inner.portAt(begin, inwards)
	if spot.port+2 > min(len(p.ip()), p.length) {
		return spot, false
	}
	spot.key.Port = uint16(be16(p.ip()[spot.port:]))
	if spot.sum+2 > p.length {
		spot.sum = 0
	}
	spot.errorSum = p.headers + icmpChecksumOffset
	return spot, true
}

// write writes another port, and mends the sums over it. It cannot where a length
// promised a sum that is not there.
func (s *portSpot) write(ip []byte, port uint16) bool {
	if s.sum+2 > len(ip) {
		return false
	}
	mendWord := func(at int, udp bool, before, after int) {
		checksum := be16(ip[at:])
		if udp && checksum == 0 {
			return
		}
		changed := fold(uint32(checksum)+uint32(before)+uint32(^uint16(after))) % 0xffff
		if udp && changed == 0 {
			changed = 0xffff
		}
		binary.BigEndian.PutUint16(ip[at:], uint16(changed))
	}
	before := be16(ip[s.port:])
	if s.sum > 0 {
		sum := be16(ip[s.sum:])
		mendWord(s.sum, s.key.Protocol == protocolUDP, before, int(port))
		if s.errorSum > 0 {
			mendWord(s.errorSum, false, before, int(port))
			mendWord(s.errorSum, false, sum, be16(ip[s.sum:]))
		}
	} else {
		mendWord(s.errorSum, false, before, int(port))
	}
	binary.BigEndian.PutUint16(ip[s.port:], port)
	return true
}

// carryECN is RFC 6040, section 4.2, figure 4. False if the mark would be lost.
func carryECN(inner []byte, v6 bool, outer uint8) bool {
	tos := inner[1]
	if v6 {
		tos = inner[0]<<4 | inner[1]>>4
	}
	const ect1, ect0, congested = 1, 2, 3
	ecn := tos & 3
	switch {
	case outer == congested && ecn == 0:
		return false
	case outer == congested:
		ecn = congested
	case outer == ect1 && ecn == ect0:
		ecn = ect1
	}
	switch {
	case ecn == tos&3:
	case v6:
		inner[1] = inner[1]&^0x30 | ecn<<4
	default:
		before := be16(inner)
		inner[1] = inner[1]&^3 | ecn
		after := be16(inner)
		changed := fold(uint32(be16(inner[ipv4ChecksumOffset:]))+uint32(before)+uint32(^uint16(after))) % 0xffff
		binary.BigEndian.PutUint16(inner[ipv4ChecksumOffset:], uint16(changed))
	}
	return true
}
