package oracle

import (
	"encoding/binary"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// overhead is how many bytes of outer headers a packet gets.
func overhead(backend dataplane.BackendEntry) int {
	size := ipv4Size
	if backend.OuterFamilyV6() {
		size = ipv6Size
	}
	switch backend.Forward {
	case dataplane.L2:
		return 0
	case dataplane.GUE:
		size += udpSize + gueSize
		if backend.Port != 0 {
			size += guePortSize
		}
	}
	return size
}

// outerHeaders are what comes before the client's packet: nothing for l2.
func (p *packet) outerHeaders(backend dataplane.BackendEntry, entropy uint32) (header []byte, etherType uint16) {
	switch {
	case backend.Forward == dataplane.L2 && p.v6:
		return nil, typeIPv6
	case backend.Forward == dataplane.L2:
		return nil, typeIPv4
	}
	inner := uint8(4)
	if p.v6 {
		inner = 41
	}
	o := outer{p.tos, inner, backend.Hop.Source, backend.Addr}
	var shim []byte
	if backend.Forward == dataplane.GUE {
		shim = gue(inner, p.length, entropy, backend.Port)
		o.protocol = protocolUDP
	}
	if backend.OuterFamilyV6() {
		return append(o.ipv6(len(shim)+p.length, entropy&0xfffff), shim...), typeIPv6
	}
	return append(o.ipv4(len(shim)+p.length), shim...), typeIPv4
}

// outer is what outer headers say. TOS is the inner one, with ECN: RFC 6040's
// normal mode.
type outer struct {
	tos, protocol       uint8
	source, destination netip.Addr
}

// ipv4 is RFC 2003's header. DF, since identification is zero (RFC 6864, 4.1).
func (o outer) ipv4(payload int) []byte {
	header := make([]byte, ipv4Size)
	header[0] = 0x45
	header[1] = o.tos
	binary.BigEndian.PutUint16(header[2:], uint16(ipv4Size+payload))
	header[6] = 0x40
	header[8] = 64
	header[9] = o.protocol
	copy(header[12:], o.source.AsSlice())
	copy(header[16:], o.destination.AsSlice())
	putChecksum(header[10:], sum(header, 0))
	return header
}

// ipv6 is RFC 2473's header without options; the flow label carries entropy
// (RFC 6438).
func (o outer) ipv6(payload int, label uint32) []byte {
	header := binary.BigEndian.AppendUint32(nil, 6<<28|uint32(o.tos)<<20|label)
	header = binary.BigEndian.AppendUint16(header, uint16(payload))
	header = append(header, o.protocol, 64)
	header = append(header, o.source.AsSlice()...)
	return append(header, o.destination.AsSlice()...)
}
