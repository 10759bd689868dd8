package oracle

import (
	"encoding/binary"
	"net/netip"
)

const ipv6Size = 40 // RFC 8200, section 3

// The extension headers that are followed: RFC 8200, section 4, and RFC 4302.
const (
	hopByHop    = 0
	routing     = 43
	fragmented  = 44
	authentic   = 51
	destOptions = 60
)

const mostExtensionHeaders = 6

// readIPv6 reads RFC 8200's header and the extension headers behind it.
func (p *packet) readIPv6() Outcome {
	header := p.ip()
	if len(header) < ipv6Size || header[0]>>4 != 6 {
		return PassUnreadable
	}
	p.v6 = true
	p.tos = header[0]<<4 | header[1]>>4
	p.length = ipv6Size + be16(header[4:])
	p.source = netip.AddrFrom16([16]byte(header[8:]))
	p.destination = netip.AddrFrom16([16]byte(header[24:]))

	chain := followExtensions(header, ipv6Size, header[6])
	p.headers, p.protocol, p.fragment = chain.size, chain.protocol, chain.fragment
	p.plain = chain.size == ipv6Size
	p.broken = chain.broken
	return none
}

// chain is what following extension headers leads to.
type chain struct {
	protocol uint8 // the first that is no extension header
	size     int   // bytes up to there, the fixed header among them
	fragment *fragment
	broken   bool // cut short, or longer than is followed
}

// followExtensions follows the extension headers of an IPv6 packet from an
// offset on. What comes behind the header of a later fragment is data.
func followExtensions(packet []byte, at int, next uint8) chain {
	c := chain{protocol: next, size: at}
	for count := 0; isExtension(c.protocol); count++ {
		header := packet[min(c.size, len(packet)):]
		if count == mostExtensionHeaders || len(header) < 8 {
			c.broken = true
			return c
		}
		size := extensionSize(c.protocol, header[1])
		if c.protocol == fragmented {
			if c.fragment = readFragmentHeader(header); c.fragment != nil {
				c.fragment.at = c.size
			}
		}
		c.protocol = header[0]
		c.size += size
		if c.fragment != nil && c.fragment.offset != 0 {
			return c
		}
	}
	return c
}

func isExtension(protocol uint8) bool {
	switch protocol {
	case hopByHop, routing, fragmented, authentic, destOptions:
		return true
	}
	return false
}

// extensionSize is in units of 8 bytes beyond the first, but for AH's of 4
// beyond the first two (RFC 4302, section 2.2).
func extensionSize(protocol, length uint8) int {
	switch protocol {
	case fragmented:
		return 8
	case authentic:
		return (int(length) + 2) * 4
	}
	return (int(length) + 1) * 8
}

// readFragmentHeader reads RFC 8200, section 4.5. An atomic fragment (RFC 6946)
// is no fragment.
func readFragmentHeader(header []byte) *fragment {
	bits := be16(header[2:])
	offset, more := bits>>3, bits&1 != 0
	if offset == 0 && !more {
		return nil
	}
	return &fragment{id: binary.BigEndian.Uint32(header[4:]), offset: offset, more: more}
}
