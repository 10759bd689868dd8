package oracle

import "net/netip"

const ipv4Size = 20 // RFC 791, section 3.1, without options

// readIPv4 reads RFC 791's header. A destination is trusted where the fixed
// part is there and makes sense.
func (p *packet) readIPv4() Outcome {
	header := p.ip()
	if len(header) < ipv4Size || header[0]>>4 != 4 || header[0]&0xf < 5 {
		return PassUnreadable
	}
	p.headers = int(header[0]&0xf) * 4
	p.plain = p.headers == ipv4Size
	p.tos = header[1]
	p.length = be16(header[2:])
	p.protocol = header[9]
	p.source = netip.AddrFrom4([4]byte(header[12:]))
	p.destination = netip.AddrFrom4([4]byte(header[16:]))

	flags := be16(header[6:])
	p.dontFrag = flags&0x4000 != 0
	more, offset := flags&0x2000 != 0, flags&0x1fff
	if more || offset != 0 {
		p.fragment = &fragment{id: uint32(be16(header[4:])), offset: offset, more: more}
	}
	return none
}
