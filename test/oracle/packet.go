package oracle

import (
	"encoding/binary"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// packet is what was read of an arrival.
type packet struct {
	arrival Arrival
	link    link

	// Of the IP header and, for IPv6, its extension headers.
	v6          bool
	source      netip.Addr
	destination netip.Addr
	protocol    uint8
	tos         uint8 // or the traffic class
	dontFrag    bool  // IPv4's DF
	length      int   // of the IP packet, as its header says
	headers     int   // bytes of IP header, options and extension headers
	plain       bool  // no options, no extension headers
	broken      bool  // the extension headers do not lead to a protocol
	fragment    *fragment

	// Of the transport header.
	from    netip.AddrPort
	to      dataplane.VIP
	minimum int // bytes of a transport header without options
	syn     bool

	quoted *quote // of an ICMP error
}

// IP protocol numbers.
const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
)

// ip is the IP packet and what comes behind it: all of the frame but its link
// header.
func (p *packet) ip() []byte { return p.arrival.Frame[p.link.size:] }

// transport is what comes behind the IP headers, to the frame's end.
func (p *packet) transport() []byte { return p.ip()[p.headers:] }

// cutShort tells whether the frame ends before the IP headers do.
func (p *packet) cutShort() bool { return len(p.ip()) < p.headers }

func (p *packet) isICMP() bool {
	return !p.v6 && p.protocol == protocolICMP || p.v6 && p.protocol == protocolICMPv6
}

// lengthLies tells whether the IP length leaves no room for the headers and a
// number of bytes more, or claims more than the frame holds. Bytes behind the
// packet are Ethernet padding and true.
func (p *packet) lengthLies(more int) bool {
	return p.length < p.headers+more || p.length > len(p.ip())
}

// toEnd is the end that a packet goes to.
func (p *packet) toEnd() netip.AddrPort { return netip.AddrPortFrom(p.to.Addr, p.to.Port) }

func be32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

func be16(b []byte) int { return int(binary.BigEndian.Uint16(b)) }
