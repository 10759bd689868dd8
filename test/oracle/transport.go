package oracle

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// Transport headers without options: RFC 9293, section 3.1, and RFC 768.
const (
	tcpSize = 20
	udpSize = 8
)

// TCP's flags that the program looks at.
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// readTransport reads the ports. The whole fixed header has to be there.
func (p *packet) readTransport() Outcome {
	p.minimum = tcpSize
	if p.protocol == protocolUDP {
		p.minimum = udpSize
	}
	if p.cutShort() || len(p.transport()) < p.minimum {
		return PassUnreadable
	}
	header := p.transport()
	p.from = netip.AddrPortFrom(p.source, uint16(be16(header)))
	p.to = dataplane.VIP{Addr: p.destination, Port: uint16(be16(header[2:])), Protocol: dataplane.Protocol(p.protocol)}
	p.syn = p.protocol == protocolTCP && header[13]&(flagSYN|flagACK) == flagSYN
	return none
}

// tcpFlags are those of a segment; a datagram has none.
func (p *packet) tcpFlags() uint8 {
	if p.protocol != protocolTCP {
		return 0
	}
	return p.transport()[13]
}

// judge finds what is wrong with a packet that is known to be for a VIP.
func (p *packet) judge() Outcome {
	if p.lengthLies(p.minimum) {
		return DropBadLength
	}
	payload, header := p.length-p.headers, p.transport()
	if p.protocol == protocolTCP {
		if size := int(header[12]>>4) * 4; size < tcpSize || size > payload {
			return DropBadLength
		}
		if impossible(header[13]) {
			return DropBadFlags
		}
		return none
	}
	// The length of a datagram that comes in fragments is that of all of them.
	if size := be16(header[4:]); p.fragment == nil && (size < udpSize || size > payload) {
		return DropBadLength
	}
	return none
}

// impossible tells flags that no segment has: a segment that neither opens,
// acknowledges nor ends anything, and one that does two of these at once.
func impossible(flags uint8) bool {
	return flags&(flagSYN|flagACK|flagFIN|flagRST) == 0 ||
		flags&(flagSYN|flagFIN) == flagSYN|flagFIN ||
		flags&(flagSYN|flagRST) == flagSYN|flagRST
}
