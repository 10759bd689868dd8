package oracle

// link is the Ethernet header with its tags.
type link struct {
	size      int // of the addresses, tags and the type
	etherType int
}

// Ethernet types.
const (
	typeIPv4        = 0x0800
	typeIPv6        = 0x86dd
	typeTag         = 0x8100 // IEEE 802.1Q
	typeServiceTag  = 0x88a8 // IEEE 802.1ad
	addressesSize   = 12
	typeSize        = 2
	tagSize         = 4
	mostTags        = 2
	macSize         = 6
	sourceMACOffset = macSize
)

// readEthernet skips at most two tags. They play no part in finding the VIP.
func readEthernet(frame []byte) (link, Outcome) {
	at := addressesSize
	for tags := 0; ; tags++ {
		if len(frame) < at+typeSize {
			return link{}, PassUnreadable
		}
		etherType := be16(frame[at:])
		if tags == mostTags || etherType != typeTag && etherType != typeServiceTag {
			return link{size: at + typeSize, etherType: etherType}, none
		}
		at += tagSize
	}
}

// read reads a frame as far as the IP headers go.
func read(a Arrival) (*packet, Outcome) {
	p := &packet{arrival: a}
	var objection Outcome
	if p.link, objection = readEthernet(a.Frame); objection != none {
		return p, objection
	}
	switch p.link.etherType {
	case typeIPv4:
		return p, p.readIPv4()
	case typeIPv6:
		return p, p.readIPv6()
	}
	return p, PassNotIP
}

// replyTo is a link header back to where the packet came from: addresses
// swapped, tags as they were.
func (p *packet) replyLink() []byte {
	frame := p.arrival.Frame
	header := append([]byte(nil), frame[sourceMACOffset:][:macSize]...)
	header = append(header, frame[:macSize]...)
	return append(header, frame[addressesSize:p.link.size]...)
}
