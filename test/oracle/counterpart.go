package oracle

// counterpart.go: what keeps IP headers from being replaced by those of the other
// family, beside what fragments lack.

// isDamaged tells whether an IPv4 header is. It matters where that is replaced, since
// the new one would be right (RFC 1812, section 5.2.2).
func (p *packet) isDamaged() bool { return !p.v6 && sum(p.ip()[:p.headers], 0) != 0xffff }

// leaveOut objects to what may not be left out of a packet's headers: RFC 7915,
// sections 4.1 and 5.1. Nothing is looked at behind an authentication header (RFC
// 4302), which is void at any translator, nor behind a route.
func (b *Balancer) leaveOut(p *packet) (Fate, bool) {
	switch at, kind := p.findObstacle(); {
	case kind == sealed:
		return p.rejected(DropNATFamily), true
	case kind == routed && p.v6:
		return b.tell(p, errorHead{parameterProblemV6, 0, uint32(at)}, ReplySourceRoute, DropNATFamily), true
	case kind == routed:
		return b.tell(p, errorHead{unreachable, codeSourceRouteFailed, 0}, ReplySourceRoute, DropNATFamily), true
	}
	return Fate{}, false
}

type obstacle int

const (
	noObstacle obstacle = iota
	sealed              // by AH
	routed              // by its sender, and not at the end of the route yet
)

// Types of IPv4's options (RFC 791, section 3.1).
const (
	optionEnd         = 0
	optionNone        = 1
	optionLooseRoute  = 131
	optionStrictRoute = 137
)

func (p *packet) findObstacle() (at int, kind obstacle) {
	if p.v6 {
		return findObstacle(p.ip()[:p.headers])
	}
	options := p.ip()[ipv4Size:p.headers]
	for len(options) >= 3 && options[0] != optionEnd {
		size := 1
		if options[0] != optionNone {
			size = int(options[1])
		}
		isRoute := options[0] == optionLooseRoute || options[0] == optionStrictRoute
		if isRoute && options[2] <= options[1] { // its pointer is within it: somebody is still to be visited
			return 0, routed
		}
		if size == 0 || size > len(options) {
			break
		}
		options = options[size:]
	}
	return 0, noObstacle
}

// findObstacle is for the extension headers of an IPv6 packet: where the number of
// segments that are left stands, if there are any.
func findObstacle(headers []byte) (at int, kind obstacle) {
	next := headers[6]
	for at := ipv6Size; at < len(headers); {
		header := headers[at:]
		switch {
		case next == authentic:
			return at, sealed
		case next == routing && header[3] != 0:
			return at + 3, routed
		}
		at += extensionSize(next, header[1])
		next = header[0]
	}
	return 0, noObstacle
}
