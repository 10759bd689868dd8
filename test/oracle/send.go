package oracle

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// send puts a packet on its way to a backend.
func (b *Balancer) send(p *packet, index, entropy uint32) Fate {
	backend := b.Tables.Backends[index]
	if !b.takesWhole(index) {
		return p.rejected(DropNoBackend)
	}
	if backend.Forward == dataplane.L2 && bytes.Equal(p.arrival.Frame[sourceMACOffset:][:macSize], backend.Hop.NextHopMAC[:]) {
		return p.rejected(DropLoop) // it came from there; a TTL would not end it
	}
	if longest := int(backend.Hop.MTU) - overhead(backend); p.length > longest {
		return b.tooBig(p, longest)
	}
	frame := encapsulate(p, backend, entropy)
	if len(frame)-len(p.arrival.Frame) > p.arrival.Headroom {
		return p.rejected(DropNoHeadroom)
	}
	verdict := Redirect
	if backend.Hop.Interface == p.arrival.Interface {
		verdict = TX
	} else if !b.Tables.Egress[backend.Hop.Interface] {
		return p.rejected(DropNoEgress)
	}
	return Fate{
		Outcome: Forward,
		Verdict: verdict,
		Frame:   frame,
		Backend: index,
		Bytes:   p.length,
		NewFlow: p.syn,
	}
}

// encapsulate is the frame as it leaves. The client's packet in it is
// unchanged, and so is the padding behind.
func encapsulate(p *packet, backend dataplane.BackendEntry, entropy uint32) []byte {
	outer, etherType := p.outerHeaders(backend, entropy)
	frame := linkTo(backend.Hop, etherType)
	frame = append(frame, outer...)
	return append(frame, p.ip()...)
}

type hop = dataplane.Hop

// linkTo is the Ethernet header of the way to a backend, with its own tags.
func linkTo(hop hop, etherType uint16) []byte {
	frame := slices.Concat(hop.NextHopMAC[:], hop.EgressMAC[:])
	for _, tag := range hop.VLAN {
		if tag == 0 {
			break
		}
		frame = binary.BigEndian.AppendUint16(frame, tagType(tag))
		frame = binary.BigEndian.AppendUint16(frame, tag&^dataplane.ServiceTag)
	}
	return binary.BigEndian.AppendUint16(frame, etherType)
}

func tagType(tag uint16) uint16 {
	if tag&dataplane.ServiceTag != 0 {
		return typeServiceTag
	}
	return typeTag
}
