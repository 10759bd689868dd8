package wild

import (
	"encoding/binary"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

// Lives are connections of nat that are lived from beginning to end, too many for
// the table and for the ports: a history of it.
type Lives struct {
	*World
	second  uint32
	dice    *Dice
	parties []*party
	crowd   int    // that speak: few, who close and begin again, or many
	speaks  *party // whose packet was the latest
}

// party is a client's end and what its backend has got.
type party struct {
	protocol    dataplane.Protocol
	client, vip netip.AddrPort
	backend     []byte // the latest frame that its backend got; nil before
	heard       []byte // the latest that it got itself
}

// perLiving is how many dice each packet of a life has.
const perLiving = 8

const partiesOfLives = 96

// NewLives are lives in one service with few backends.
func NewLives(bytes []byte, at Interfaces) *Lives {
	dice := NewDice(bytes)
	number := uint16(dice.wide())
	l := &Lives{second: 5000 + uint32(number), dice: dice, crowd: []int{6, 24, partiesOfLives}[number%3]}
	l.World = newWorldOfLives(number, at, l.second)
	for i := range partiesOfLives {
		p := &party{
			protocol: []dataplane.Protocol{dataplane.TCP, dataplane.TCP, dataplane.UDP}[i%3],
			client:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 40000),
			vip:      netip.AddrPortFrom(vips4[0], 80),
		}
		if i%4 == 3 {
			p.client = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), 40000)
			p.vip = netip.AddrPortFrom(vips6[0], 80)
		}
		l.parties = append(l.parties, p)
	}
	return l
}

func newWorldOfLives(number uint16, at Interfaces, second uint32) *World {
	w := newWorld(number, at, second)
	w.NAT = true
	w.natSettings()
	w.nat.Ports = among[uint16](w, 8, 16, 64, 128)
	w.step(dataplane.PutNAT{Settings: w.nat})
	w.step(dataplane.SeeNAT{On: true})
	w.backends = make([]dataplane.BackendEntry, backends)
	for index := uint32(firstNAT); index < firstNAT+4; index++ {
		w.backend(index)
		w.backends[index].Hop.Interface, w.backends[index].Hop.MTU, w.dead[index] = at.Loopback, 1500, false
		w.step(w.putBackend(index))
	}
	entry := dataplane.VIPEntry{Service: 1, FirstSlot: slotsEach, SlotCount: 13, NAT: true, IdleSeconds: 60}
	w.table = append(w.table, entry)
	w.step(w.owners(func(int) uint32 { return firstNAT + w.Uint32N(among[uint32](w, 1, 4)) }))
	for _, addr := range []netip.Addr{vips4[0], vips6[0]} {
		w.step(dataplane.PutAddress{Addr: addr})
		for _, protocol := range protocols {
			put := dataplane.PutVIP{VIP: dataplane.VIP{Addr: addr, Port: 80, Protocol: protocol}, Entry: entry}
			w.vips = append(w.vips, put)
			w.step(put)
		}
	}
	w.Flows = make(dataplane.Flows, Flows)
	return w
}

// owners gives the slots of the only service theirs.
func (w *World) owners(of func(slot int) uint32) dataplane.Step {
	change := dataplane.PutSlots{Name: "wild"}
	for slot := range w.table[0].SlotCount {
		change.Owners = append(change.Owners, dataplane.SlotOwner{Slot: w.table[0].FirstSlot + slot, Owner: of(int(slot))})
	}
	return change
}

// Next is the next packet of some life, until the dice are used up.
func (l *Lives) Next() (event Event, more bool) {
	if l.dice.Over() {
		return Event{}, false
	}
	d := l.dice.nextOf(perLiving)
	if l.speaks == nil || d.oneIn(3) { // else the same goes on
		l.speaks = l.parties[d.Roll(l.crowd)]
	}
	does := d.Roll(128)
	l.second += l.passes(d)
	if does == 127 {
		event.Changes = l.changes(d)
	}
	event.Arrival = oracle.Arrival{Interface: l.at.Loopback, Second: l.second, Headroom: Plenty, Frame: l.speaks.says(d)}
	return event, true
}

// passes is how long nobody says anything.
func (l *Lives) passes(d *Dice) uint32 {
	switch roll := d.Roll(256); {
	case roll >= 255:
		return uint32(pick(d, []int{7439, 7440, 7441, 239, 240, 241, 299, 300, 301}))
	case roll >= 252:
		return uint32(pick(d, []int{7, 8, 9, 10, 11, 29, 30, 31, 59, 60, 61}))
	case roll >= 224:
		return uint32(d.Roll(4))
	}
	return 0
}

// changes are a backend's death or return, and other owners.
func (l *Lives) changes(d *Dice) []dataplane.Step {
	index := firstNAT + uint32(d.Roll(4))
	if d.oneIn(2) {
		return []dataplane.Step{l.owners(func(slot int) uint32 { return firstNAT + (index+uint32(slot))%4 })}
	}
	l.dead[index] = !l.dead[index]
	return []dataplane.Step{l.putBackend(index)}
}

// Met tells what became of the latest packet.
func (l *Lives) Met(fate oracle.Fate) {
	switch fate.Outcome {
	case oracle.Forward:
		l.speaks.backend = fate.Frame
	case oracle.ReplyBackend:
		l.speaks.heard = fate.Frame
	}
}

// says is what the client or its backend sends next: most often what a connection
// goes on with, and now and then anything.
func (p *party) says(d *Dice) []byte {
	asBackend := p.backend != nil && d.oneIn(2)
	if p.protocol == dataplane.UDP {
		return p.frame(asBackend, func(from, to uint16) []byte { return packet.UDP(from, to, []byte("data")) })
	}
	flags, ack := uint8(packet.ACK), uint32(1001)
	if p.heard != nil {
		ack = 7001
	}
	switch roll := d.Roll(16); {
	case !asBackend && (p.heard == nil || roll == 15):
		flags = packet.SYN
		p.heard = nil
	case asBackend && p.heard == nil:
		flags = packet.SYN | packet.ACK
	case roll >= 12:
		flags = packet.FIN | packet.ACK
	case roll == 11:
		flags = packet.RST
	case roll == 10:
		ack = uint32(d.Roll(256)) << 24 // anything
	}
	sequence := uint32(1000)
	if asBackend {
		sequence = 7000
	}
	return p.frame(asBackend, func(from, to uint16) []byte {
		segment := packet.TCP(from, to, flags, nil, nil)
		binary.BigEndian.PutUint32(segment[4:], sequence)
		binary.BigEndian.PutUint32(segment[8:], ack)
		return segment
	})
}

// frame is from the client, or answers the latest that its backend has got.
func (p *party) frame(asBackend bool, segment func(from, to uint16) []byte) []byte {
	from, to := p.client, p.vip
	if asBackend {
		g, _ := readFrame(p.backend)
		from, to = g.to, g.from
	}
	ip := packet.IP{From: from.Addr(), To: to.Addr(), Protocol: uint8(p.protocol), TTL: 64}
	link := packet.Ethernet{To: balancerMAC, From: clientMACs[0]}
	return link.Frame(ip.Packet(segment(from.Port(), to.Port())))
}
