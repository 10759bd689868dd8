package oracle

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// request is the way of a client's packet to a VIP of nat, or of an error about
// one of its connections.
func (b *Balancer) request(p *packet, vip dataplane.VIPEntry) Fate {
	c := b.Connections.OfClient(p.from, p.toEnd(), p.to.Protocol, p.arrival.Second)
	if c != nil && b.mayBeginAnew(p) && b.isOver(c, p, vip) {
		b.retire(c, p.arrival.Second)
		c = nil
	}
	if c == nil {
		var objection Outcome
		if c, objection = b.begin(p, vip); objection != none {
			return p.rejected(objection)
		}
	}
	if p.syn && c.isClosed() { // RFC 6191 and RFC 1122, section 4.2.2.13: its backend judges that
		c.State, c.Heard = SYN, p.arrival.Second
		c.Expires = c.Heard + timeout(SYN, b.Tables.NAT.Timeouts)
	}
	if !b.isBackendOf(c) {
		return p.rejected(DropNoConnection)
	}
	if !p.isICMP() {
		b.hear(c, p, byClient)
		b.learnWayBack(c, p)
	}
	fate := b.translateRequest(p, c)
	b.rememberTranslated(p, c, ByRequest, fate.Outcome)
	return fate
}

// translateRequest sends a packet of a client's on as one of its connection.
func (b *Balancer) translateRequest(p *packet, c *Connection) Fate {
	if !b.isBackendOf(c) {
		return p.rejected(DropNoConnection)
	}
	backend := b.Tables.Backends[c.Index]
	fate := b.translate(p, passage{
		source: c.Source, destination: c.Backend,
		hop: backend.Hop, longest: int(backend.Hop.MTU),
	})
	if fate.Outcome == none {
		fate.Outcome, fate.Backend, fate.Bytes, fate.NewFlow = Forward, c.Index, p.length, p.syn
	}
	return fate
}

// mayBeginAnew tells whether a packet begins a connection where there is none.
func (b *Balancer) mayBeginAnew(p *packet) bool {
	return !p.isICMP() && (p.protocol == protocolUDP || p.syn)
}

// isOver tells whether a connection is over for a packet that can begin one: its
// backend is gone; or it is closed, and new ones go to another backend.
func (b *Balancer) isOver(c *Connection, p *packet, vip dataplane.VIPEntry) bool {
	return !b.isBackendOf(c) || p.syn && c.isClosed() && c.Index != b.owner(p, vip)
}

// retire lets a connection keep nothing but its port, for as long as its backend
// may remember it.
func (b *Balancer) retire(c *Connection, second uint32) {
	c.State, c.Heard = Retired, second
	c.Expires = second + timeout(Retired, b.Tables.NAT.Timeouts)
}

// isBackendOf tells whether the backend that a connection was begun with is there.
func (b *Balancer) isBackendOf(c *Connection) bool {
	entry := b.Tables.Backends[c.Index]
	return b.takesNAT(c.Index) && netip.AddrPortFrom(entry.Addr, entry.Port) == c.Backend
}

func (b *Balancer) takesNAT(index uint32) bool {
	return b.alive(index) && b.Tables.Backends[index].Forward == dataplane.NAT
}

// owner is that of the packet's slot, whatever the slot goes through.
func (b *Balancer) owner(p *packet, vip dataplane.VIPEntry) uint32 {
	slot := b.Hash.Slot(p.from, p.to, vip)
	if int(slot) >= len(b.Tables.Slots) {
		return dataplane.NoBackend
	}
	return b.Tables.Slots[slot]
}

// begin is what a connection's first packet needs: a backend, a place, a port.
func (b *Balancer) begin(p *packet, vip dataplane.VIPEntry) (*Connection, Outcome) {
	if !b.mayBeginAnew(p) {
		return nil, DropNoConnection
	}
	index, named := b.named(p, vip)
	if !named || !b.alive(index) {
		index = b.owner(p, vip)
	}
	if !b.takesNAT(index) {
		return nil, DropNoBackend
	}
	second, entry := p.arrival.Second, b.Tables.Backends[index]
	place := b.Connections.claim(p.from, p.toEnd(), p.to.Protocol, second)
	if place == nil {
		return nil, DropNATFull
	}
	c := &Connection{
		Protocol: p.to.Protocol, Client: p.from, VIP: p.toEnd(), Index: index,
		Backend: netip.AddrPortFrom(entry.Addr, entry.Port),
		State:   SYN, Heard: second, Begun: second,
	}
	if p.protocol == protocolUDP {
		c.State = OneWay
	}
	c.Expires = second + timeout(c.State, b.Tables.NAT.Timeouts)
	if !b.choosePort(c, second) {
		return nil, DropNATPorts
	}
	*place = c
	return c, none
}

// answer is the way of a packet that is for no VIP: a nat backend's, or else the
// host's.
func (b *Balancer) answer(p *packet) (fate Fate, found bool) {
	if !b.Tables.SeesNAT {
		return Fate{}, false
	}
	c := b.Connections.OfBackend(p.from, p.toEnd(), p.to.Protocol, p.arrival.Second)
	if c == nil {
		return Fate{}, false
	}
	if !p.isICMP() {
		if objection := p.judge(); objection != none {
			return p.rejected(objection), true
		}
		b.hear(c, p, byBackend)
	}
	fate = b.translateAnswer(p, c)
	b.rememberTranslated(p, c, ByReply, fate.Outcome)
	return fate, true
}

// translateAnswer sends a backend's packet on to the client.
func (b *Balancer) translateAnswer(p *packet, c *Connection) Fate {
	fate := b.translate(p, passage{
		source: c.VIP, destination: c.Client,
		hop: c.Back.Hop, longest: c.Back.Longest,
	})
	if fate.Outcome == none {
		fate.Outcome = ReplyBackend
	}
	return fate
}

// learnWayBack keeps how the client's latest packet came: no route is asked.
func (b *Balancer) learnWayBack(c *Connection, p *packet) {
	frame := p.arrival.Frame
	c.Back = WayBack{Longest: min(b.MTU[p.arrival.Interface], 0xffff)}
	c.Back.Interface = p.arrival.Interface
	copy(c.Back.NextHopMAC[:], frame[sourceMACOffset:])
	copy(c.Back.EgressMAC[:], frame)
	tags := 0
	for at := addressesSize; at < p.link.size-typeSize; at += tagSize {
		if tag := tagThatCame(frame[at:]); tag != 0 { // a tag of zeroes says nothing
			c.Back.VLAN[tags] = tag
			tags++
		}
	}
}

// tagThatCame is a tag as Hop has it: DEI is never sent, and tells the type.
func tagThatCame(tag []byte) uint16 {
	control := uint16(be16(tag[2:])) &^ dataplane.ServiceTag
	if be16(tag) == typeServiceTag {
		return control | dataplane.ServiceTag
	}
	return control
}
