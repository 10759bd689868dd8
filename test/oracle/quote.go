package oracle

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// icmpError sends an error about a packet that a backend sent in the VIP's name
// to that backend: the quote says which flow it belongs to.
func (b *Balancer) icmpError(p *packet) Fate {
	if p.lengthLies(icmpSize) {
		return p.rejected(DropBadLength)
	}
	q, objection := p.readQuote()
	if objection != none {
		return p.rejected(objection)
	}
	p.isAbout(q)
	vip, known := b.findVIP(p.to)
	if !known {
		if fate, found := b.answer(p); found {
			return fate
		}
		return p.rejected(PassNotVIP)
	}
	if vip.NAT {
		return b.request(p, vip)
	}
	backend, alive := b.look(p, vip)
	if !alive {
		return p.rejected(DropNoBackend)
	}
	return b.send(p, backend, b.Hash.Entropy(p.from, p.to, vip))
}

// errorToSource sends an error about a packet from one of the balancer's own ends
// of a connection to the client that it was sent for. Everything else that is to
// such an address is the host's.
func (b *Balancer) errorToSource(p *packet) Fate {
	if !b.Tables.SeesNAT || p.fragment != nil || p.cutShort() || len(p.transport()) < icmpSize ||
		!p.isICMPError() || p.lengthLies(icmpSize) {
		return p.rejected(PassNotVIP)
	}
	q, objection := p.readQuote()
	if objection != none {
		return p.rejected(PassNotVIP)
	}
	p.isAbout(q)
	if fate, found := b.answer(p); found {
		return fate
	}
	return p.rejected(PassNotVIP)
}

// isAbout makes an error one of the flow whose packet it quotes, which went the
// other way.
func (p *packet) isAbout(q quote) {
	p.quoted = &q
	p.from, p.to = q.to, dataplane.VIP{Addr: q.from.Addr(), Port: q.from.Port(), Protocol: dataplane.Protocol(q.inner.protocol)}
}

// quote is what an error tells of the packet that it is about.
type quote struct {
	from, to netip.AddrPort
	inner    *packet
}

// readQuote reads as little of the packet in an error as the RFCs promise: its
// IP header and eight bytes (RFC 792), of which the ports are the first four.
func (p *packet) readQuote() (quote, Outcome) {
	quoted := p.ip()[p.headers+icmpSize : p.length]
	inner := packet{arrival: Arrival{Frame: quoted}}
	objection := none
	if p.v6 {
		objection = inner.readIPv6()
	} else {
		objection = inner.readIPv4()
	}
	if objection != none || inner.source != p.destination || inner.isLaterFragment() {
		return quote{}, DropICMPQuote
	}
	if inner.broken || inner.cutShort() {
		return quote{}, DropICMPQuote
	}
	if inner.protocol != protocolTCP && inner.protocol != protocolUDP {
		return quote{}, PassICMP
	}
	ports := inner.transport()
	if len(ports) < 4 {
		return quote{}, DropICMPQuote
	}
	return quote{
		from:  netip.AddrPortFrom(inner.source, uint16(be16(ports))),
		to:    netip.AddrPortFrom(inner.destination, uint16(be16(ports[2:]))),
		inner: &inner,
	}, none
}
