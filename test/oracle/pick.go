package oracle

import (
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// pick chooses the backend of a packet's flow by its slot and by what is
// remembered, and remembers.
func (b *Balancer) pick(p *packet, vip dataplane.VIPEntry) (uint32, bool) {
	if named, known := b.named(p, vip); known && b.alive(named) {
		return named, b.takesWhole(named)
	}
	chosen := b.Flows.Choose(b.ofFlow(p), vip, p.arrival.Second)
	return chosen, b.takesWhole(chosen)
}

// look chooses as pick does for a packet that is no SYN, and leaves no trace.
func (b *Balancer) look(p *packet, vip dataplane.VIPEntry) (uint32, bool) {
	chosen := b.Flows.Look(b.ofFlow(p), vip, p.arrival.Second)
	return chosen, b.takesWhole(chosen)
}

func (b *Balancer) ofFlow(p *packet) fake.Packet {
	return fake.Packet{Client: p.from, VIP: p.to, SYN: p.syn}
}

// takesWhole tells whether a backend lives and gets packets as they are: behind
// nat is nobody whom a VIP that is not of nat can reach.
func (b *Balancer) takesWhole(index uint32) bool {
	return b.alive(index) && !b.takesNAT(index)
}

func (b *Balancer) alive(index uint32) bool {
	entry, known := b.Tables.Backends[index]
	return known && !entry.Dead
}
