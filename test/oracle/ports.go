package oracle

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Chooser is who chooses a source and a port for a connection that begins: the
// program. False says that it has found none.
type Chooser func(begins *Connection) (netip.AddrPort, bool)

// linesTried is how many lines of ports are looked at before a connection is
// refused.
const linesTried = 32

// sourcesFor are the addresses that a backend may see.
func (b *Balancer) sourcesFor(backend dataplane.BackendEntry) (all []netip.Addr) {
	for _, source := range b.Tables.NAT.Sources {
		if source.Is6() == backend.OuterFamilyV6() {
			all = append(all, source)
		}
	}
	if all == nil {
		return []netip.Addr{backend.Hop.Source}
	}
	return all
}

// choosePort gives a connection its source, and holds the choice to the law. Whose
// port is taken is over.
func (b *Balancer) choosePort(c *Connection, second uint32) bool {
	sources := b.sourcesFor(b.Tables.Backends[c.Index])
	holders := b.holders(second)
	chosen, found := b.Choose(c)
	if !found {
		b.Unlawful = b.mayRefuse(c, sources, holders)
		return false
	}
	c.Source = chosen
	if b.Unlawful = b.mayHave(c, sources); b.Unlawful != nil {
		return true
	}
	place, _ := b.Connections.PortPlace(c.Backend, c.Source, c.Protocol)
	if holder := holders[place]; holder != nil {
		b.Unlawful = b.mayTake(c, holder, sources, holders)
		holder.Expires = second - 1
	}
	return true
}

// holders are who has which place of a port. What a test has put into the table by
// hand may have none.
func (b *Balancer) holders(second uint32) map[uint64]*Connection {
	all := make(map[uint64]*Connection)
	for c := range b.Connections.all(second) {
		if c.Source.IsValid() {
			place, _ := b.Connections.PortPlace(c.Backend, c.Source, c.Protocol)
			all[place] = c
		}
	}
	return all
}

// mayHave says what is wrong with the source of a connection.
func (b *Balancer) mayHave(c *Connection, sources []netip.Addr) error {
	nat := b.Tables.NAT
	if !slices.Contains(sources, c.Source.Addr()) {
		return fmt.Errorf("%s is none of the sources %v", c.Source, sources)
	}
	if port := int(c.Source.Port()); port < int(nat.FirstPort) || port >= int(nat.FirstPort)+int(nat.Ports) {
		return fmt.Errorf("%s has a port out of the range of %d from %d on", c.Source, nat.Ports, nat.FirstPort)
	}
	return nil
}

// mayTake says why a connection may not have the port of another: only where no port
// is free that is looked for; only of the half-open one that is silent for longest
// in all lines that are looked at, of which its own is one.
func (b *Balancer) mayTake(c, holder *Connection, sources []netip.Addr, holders map[uint64]*Connection) error {
	if !holder.isHalfOpen() {
		return fmt.Errorf("%s towards %s is taken by %+v", c.Source, c.Backend, *holder)
	}
	isOlder := func(other *Connection) bool { return other.isHalfOpen() && int32(holder.Heard-other.Heard) > 0 }
	if line := b.neighbours(c.Backend, c.Source, c.Protocol, holders); slices.ContainsFunc(line, isOlder) {
		return fmt.Errorf("the port of %+v is taken, but a neighbour is silent for longer", *holder)
	}
	younger, of := 0, len(sources)*int(b.Tables.NAT.Ports)/perLine
	free := b.areFull(c, sources, holders, func(line []*Connection) {
		if !slices.ContainsFunc(line, isOlder) {
			younger++
		}
	})
	if free == nil && younger < min(of, linesTried) {
		free = fmt.Errorf("one that is silent for longer in all but %d of %d lines of ports", younger, of)
	}
	if free != nil {
		return fmt.Errorf("the port of %+v is taken, but there is %w", *holder, free)
	}
	return nil
}

// mayRefuse says why a connection has to get a port: every line is looked at if there
// are few, and none of those that are holds a half-open connection.
func (b *Balancer) mayRefuse(c *Connection, sources []netip.Addr, holders map[uint64]*Connection) error {
	barren, of := 0, len(sources)*int(b.Tables.NAT.Ports)/perLine
	free := b.areFull(c, sources, holders, func(line []*Connection) {
		if !slices.ContainsFunc(line, (*Connection).isHalfOpen) {
			barren++
		}
	})
	if free == nil && barren < min(of, linesTried) {
		return fmt.Errorf("no port towards %s, but only %d of %d lines of ports have no half-open connection", c.Backend, barren, of)
	}
	return free
}

// neighbours are who has the ports of the line of one.
func (b *Balancer) neighbours(backend, source netip.AddrPort, protocol dataplane.Protocol, holders map[uint64]*Connection) (all []*Connection) {
	first := source.Port() &^ (perLine - 1)
	for i := range uint16(perLine) {
		place, _ := b.Connections.PortPlace(backend, netip.AddrPortFrom(source.Addr(), first+i), protocol)
		if holder := holders[place]; holder != nil {
			all = append(all, holder)
		}
	}
	return all
}

// areFull says that not as many lines are full as are looked at.
func (b *Balancer) areFull(c *Connection, sources []netip.Addr, holders map[uint64]*Connection, see func([]*Connection)) error {
	full, of, nat := 0, 0, b.Tables.NAT
	for _, source := range sources {
		for first := int(nat.FirstPort); first < int(nat.FirstPort)+int(nat.Ports); first += perLine {
			line := b.neighbours(c.Backend, netip.AddrPortFrom(source, uint16(first)), c.Protocol, holders)
			of++
			if len(line) == perLine {
				see(line)
				full++
			}
		}
	}
	if full < min(of, linesTried) {
		return fmt.Errorf("no port towards %s, though of %d lines of ports only %d are full", c.Backend, of, full)
	}
	return nil
}

// anyPort chooses the first port that the law allows, for who asks no program.
func (b *Balancer) anyPort(c *Connection, second uint32) (netip.AddrPort, bool) {
	nat, holders := b.Tables.NAT, b.holders(second)
	for _, source := range b.sourcesFor(b.Tables.Backends[c.Index]) {
		for port := int(nat.FirstPort); port < int(nat.FirstPort)+int(nat.Ports); port++ {
			chosen := netip.AddrPortFrom(source, uint16(port))
			if place, _ := b.Connections.PortPlace(c.Backend, chosen, c.Protocol); holders[place] == nil {
				return chosen, true
			}
		}
	}
	return netip.AddrPort{}, false
}

// replyLines is how many lines of ports there are for a line of connections.
const replyLines = 2

// PortPlace is the place of a port, which follows from it and from whom it is used
// towards, and what tells that from others there. Ports of different backends may
// have the same place, and then only one of them can be used.
func (t *Connections) PortPlace(backend, source netip.AddrPort, protocol dataplane.Protocol) (place uint64, digest uint32) {
	words := func(addr netip.Addr) (w [4]uint32) {
		bytes := addr.As16()
		for i := range w {
			w[i] = binary.NativeEndian.Uint32(bytes[4*i:])
		}
		return w
	}
	nh := func(a, b uint32, word int) uint64 { return uint64(a+t.hash.Key[word]) * uint64(b+t.hash.Key[word+1]) }
	to, from := words(backend.Addr()), words(source.Addr())
	sum := nh(to[3], from[3], 0) + nh(uint32(bits.ReverseBytes16(backend.Port())), uint32(protocol), 2)
	if backend.Addr().Is6() {
		sum += nh(to[0], to[1], 4) + nh(to[2], from[0], 6) + nh(from[1], from[2], 8)
	}
	hash := fmix64(sum ^ t.hash.FlowSeed)
	step := uint32(hash>>32) | 1 // each backend's own
	line := uint64(uint32(hash)+uint32(source.Port())/perLine*step) & uint64(replyLines*len(t.Lines)-1)
	return line*perLine + uint64(source.Port())%perLine, uint32(hash >> 40)
}

// fmix64 is MurmurHash3's.
func fmix64(sum uint64) uint64 {
	sum = (sum ^ sum>>33) * 0xff51afd7ed558ccd
	sum = (sum ^ sum>>33) * 0xc4ceb9fe1a85ec53
	return sum ^ sum>>33
}
