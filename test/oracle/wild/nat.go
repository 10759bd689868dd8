package wild

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

// behindNAT makes a backend one that nat reaches. Two are one host, which is a
// client as well.
func (w *World) behindNAT(index uint32, entry *dataplane.BackendEntry) {
	entry.Forward, entry.Port = dataplane.NAT, uint16(8000+index)
	if index < firstNAT+2 && entry.Addr.Is4() {
		entry.Addr = hairpin4
	} else if index < firstNAT+2 {
		entry.Addr = hairpin6
	}
	if entry.Hop.MTU < 576 {
		entry.Hop.MTU = among[uint16](w, 576, 1280, 1500)
	}
}

var (
	hairpin4 = netip.MustParseAddr("203.0.113.25")
	hairpin6 = netip.MustParseAddr("2001:db8:20::25")
)

// crowd is what there is much too little of in a world.
type crowd int

const (
	noCrowd crowd = iota
	crowdedTable
	crowdedPorts // of one backend
)

// anyoneFor is somebody who can be the owner of a service's slot, and now and then
// somebody of the other kind.
func (w *World) anyoneFor(entry dataplane.VIPEntry) uint32 {
	if entry.NAT && (w.crowd == crowdedPorts || w.oneIn(3)) {
		return firstNAT
	}
	if entry.NAT && !w.oneIn(16) || !entry.NAT && w.NAT && w.oneIn(48) {
		return firstNAT + w.Uint32N(backends-firstNAT)
	}
	return w.anyone()
}

var natSources = addresses("203.0.113.1", "203.0.113.2", "203.0.113.3", "2001:db8:20::1", "2001:db8:20::2", "192.0.2.10", "2001:db8:10::10")

func (w *World) natSettings() {
	w.nat = natSettings(w.IntN)
	if w.crowd = among(w, noCrowd, noCrowd, crowdedTable, crowdedPorts); w.crowd == crowdedPorts {
		w.nat.Ports = among[uint16](w, 8, 16)
		w.nat.Sources = w.nat.Sources[:min(len(w.nat.Sources), 2)]
	}
	w.step(dataplane.PutNAT{Settings: w.nat})
	w.step(dataplane.SeeNAT{On: !w.oneIn(16)})
}

// natSettings draws some sources and, often, few ports.
func natSettings(roll func(int) int) dataplane.NATSettings {
	settings := dataplane.DefaultNATSettings()
	for _, source := range natSources {
		if roll(4) == 0 {
			settings.Sources = append(settings.Sources, source)
		}
	}
	settings.FirstPort = []uint16{1024, 2048, 65528 - 8*16, 40000}[roll(4)]
	settings.Ports = []uint16{8, 16, 24, 128}[roll(4)]
	if roll(2) == 0 {
		settings.FirstPort, settings.Ports = 1024, 31744
	}
	return settings
}

// connections fill the table of nat, which is as good as empty in most worlds. Many
// are to the same backend.
func (w *World) connections() {
	taken := among(w, 0, 0, 8, 13, 15)
	switch w.crowd {
	case crowdedTable:
		taken = among(w, 15, 16, 16)
	case crowdedPorts:
		taken = among(w, 2, 4, 6, 8)
	}
	places := oracle.NewConnections(Connections, dataplane.NewHash(Secret))
	ports := make(map[uint64]bool)
	for i := range w.Connections {
		if w.IntN(16) < taken {
			w.Connections[i] = w.connection()
			w.takeLine(w.Connections[i], places, &places.Lines[i/len(oracle.Line{})])
			w.takePort(w.Connections[i], places, ports)
		}
	}
}

// connection is any, or one with the same backend as all others, and mostly
// established.
func (w *World) connection() *oracle.Connection {
	index := firstNAT + w.Uint32N(backends-firstNAT)
	if w.crowd == crowdedPorts {
		index = firstNAT
	}
	backend := w.backends[index]
	c := &oracle.Connection{
		Protocol: among(w, protocols...),
		VIP:      netip.AddrPortFrom(vips4[0], 80),
		Backend:  netip.AddrPortFrom(backend.Addr, backend.Port),
		Index:    index,
		State:    among(w, oracle.SYN, oracle.SYNACK, oracle.Established, oracle.Established, oracle.LastAck),
		Heard:    w.second - w.Uint32N(6),
		ISN:      1,
		Back: oracle.WayBack{Hop: dataplane.Hop{
			NextHopMAC: among(w, clientMACs...), EgressMAC: balancerMAC, Interface: among(w, w.at.Loopback, w.at.Egress), VLAN: among(w, vlans...),
		}},
	}
	c.Expires = c.Heard + 8
	if w.crowd != noCrowd {
		c.Protocol, c.State = dataplane.TCP, oracle.Established
	}
	if w.crowd == crowdedPorts && w.oneIn(12) {
		c.State = oracle.SYN
	}
	if c.Protocol == dataplane.UDP {
		c.State, c.Expires = among(w, oracle.OneWay, oracle.Stream), c.Heard+30
	} else if c.State == oracle.Established {
		c.Expires = c.Heard + 7440
	}
	if w.crowd == noCrowd && w.oneIn(8) {
		c.Heard, c.Expires = w.second-10000, w.second-1
	}
	return c
}

// takeLine gives a connection a client whose flow has the line.
func (w *World) takeLine(c *oracle.Connection, places *oracle.Connections, line *oracle.Line) {
	for {
		c.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 8, byte(w.Uint32())}), uint16(w.Uint32()))
		if lines := places.LinesOf(c.Client, c.VIP, c.Protocol); lines[0] == line || lines[1] == line {
			return
		}
	}
}

// takePort gives a connection a port that no other has, if there is one soon: line
// by line, of one source after the other.
func (w *World) takePort(c *oracle.Connection, places *oracle.Connections, taken map[uint64]bool) {
	var sources []netip.Addr
	for _, source := range w.nat.Sources {
		if source.Is6() == c.Backend.Addr().Is6() {
			sources = append(sources, source)
		}
	}
	if sources == nil {
		sources = []netip.Addr{w.backends[c.Index].Hop.Source}
	}
	of := len(oracle.Line{})
	for i := range 8 * of {
		line := i / of
		port := (line + line/len(sources)) * of % int(w.nat.Ports)
		chosen := netip.AddrPortFrom(sources[line%len(sources)], w.nat.FirstPort+uint16(port+i%of))
		if place, _ := places.PortPlace(c.Backend, chosen, c.Protocol); !taken[place] {
			taken[place], c.Source = true, chosen
			return
		}
	}
}

// seen are packets of connections that are there already, as their backends have got
// them.
func (w *World) seen() (frames [][]byte) {
	for _, c := range w.Connections {
		if c == nil || !c.Source.IsValid() {
			continue
		}
		ip := packet.IP{From: c.Source.Addr(), To: c.Backend.Addr(), Protocol: uint8(c.Protocol)}
		segment := packet.UDP(c.Source.Port(), c.Backend.Port(), nil)
		if c.Protocol == dataplane.TCP {
			segment = packet.TCP(c.Source.Port(), c.Backend.Port(), packet.ACK, nil, nil)
		}
		if frames = append(frames, packet.Ethernet{}.Frame(ip.Packet(segment))); len(frames) == past {
			break
		}
	}
	return frames
}

// changeNAT changes how connections are made, and whether their answers are seen.
func (w *World) changeNAT(d *Dice) []dataplane.Step {
	if d.oneIn(8) {
		return []dataplane.Step{dataplane.SeeNAT{On: d.oneIn(2)}}
	}
	return []dataplane.Step{dataplane.PutNAT{Settings: natSettings(d.Roll)}, dataplane.SeeNAT{On: true}}
}
