package wild

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
)

// What the maps have to have room for.
var Limits = dataplane.Limits{Services: 8, VIPs: 1024, Backends: Backends}

// Backends is how many indexes there are; few of them are used.
const Backends = 32

// Slots is how many all services have together, Flows how many may be
// remembered.
const (
	Slots       = 8 * slotsEach
	Flows       = 64
	Connections = 64 // that there is room for

	// Secret is the fleet's.
	Secret = 42

	slotsEach = 32
	backends  = 24 // indexes from 1 on
	firstNAT  = 16 // of the backends that are behind nat, if the world has any
)

// Interfaces that frames come and go by. Frames come in on Loopback.
type Interfaces struct{ Loopback, Egress, Missing uint32 }

// World is what a balancer holds, and how it changes while packets come.
type World struct {
	*rand.Rand
	Steps []dataplane.Step // that make it of nothing; a range of ports is one VIP
	Flows dataplane.Flows  // that are remembered
	Holds bool             // somebody holds fragments
	NAT   bool             // some services are of nat
	// Connections are those of clients that no packet comes from, by their place.
	Connections [Connections]*oracle.Connection
	nat         dataplane.NATSettings
	crowd       crowd

	at       Interfaces
	second   uint32
	backends []dataplane.BackendEntry // by index, alive all of them
	dead     [backends]bool
	table    []dataplane.VIPEntry // of each service
	vips     []dataplane.PutVIP
	latest   uint32 // the backend that has got something last
}

// NewWorld draws a world by a number.
func NewWorld(number uint16, at Interfaces, second uint32) *World {
	w := newWorld(number, at, second)
	w.Holds = !w.oneIn(8)
	w.NAT = !w.oneIn(3)
	if w.NAT {
		w.natSettings()
	}
	w.backends = make([]dataplane.BackendEntry, backends)
	for index := uint32(1); index < backends; index++ {
		w.backend(index)
	}
	for service := range Limits.Services {
		w.service(service)
	}
	w.exactVIPs()
	w.wideVIPs()
	w.quicIDs()
	w.flows()
	if w.NAT {
		w.connections()
	}
	return w
}

// newWorld is one with nothing in it but where packets may go.
func newWorld(number uint16, at Interfaces, second uint32) *World {
	w := &World{Rand: rand.New(rand.NewPCG(uint64(number), 1)), at: at, second: second}
	w.step(dataplane.PutEgress{Interface: at.Egress})
	if w.oneIn(2) {
		w.step(dataplane.PutEgress{Interface: at.Loopback})
	}
	return w
}

func (w *World) step(step dataplane.Step) { w.Steps = append(w.Steps, step) }

func (w *World) oneIn(n int) bool { return w.IntN(n) == 0 }

func among[T any](w *World, from ...T) T { return from[w.IntN(len(from))] }

var (
	source4 = netip.MustParseAddr("203.0.113.1")
	source6 = netip.MustParseAddr("2001:db8:20::1")
)

func (w *World) backend(index uint32) {
	entry := dataplane.BackendEntry{
		ID:      dataplane.ID{Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(20 + index)})},
		Forward: among(w, forwards...),
		Hop: dataplane.Hop{
			Interface:  among(w, w.at.Loopback, w.at.Loopback, w.at.Loopback, w.at.Egress, w.at.Egress, w.at.Missing),
			EgressMAC:  [6]byte{2, 0, 0, 0, 1, 1},
			NextHopMAC: [6]byte{2, 0, 0, 0, 2, byte(index)},
			Source:     source4,
			MTU:        among(w, mtus...),
			VLAN:       among(w, vlans...),
		},
	}
	if w.oneIn(2) {
		entry.Addr, entry.Hop.Source = netip.MustParseAddr(fmt.Sprintf("2001:db8:20::%x", 0x20+index)), source6
	}
	if index%2 == 0 {
		entry.Port = uint16(20000 + index) // which only GUE names
	}
	if w.oneIn(8) {
		entry.Hop.NextHopMAC = clientMACs[0]
	}
	if index >= firstNAT && w.NAT {
		w.behindNAT(index, &entry)
	}
	w.backends[index], w.dead[index] = entry, w.oneIn(10)
	w.step(w.putBackend(index))
}

// putBackend writes a backend's entry: that of the living, or of the dead.
func (w *World) putBackend(index uint32) dataplane.Step {
	entry := w.backends[index]
	if w.dead[index] {
		entry.Dead, entry.Hop = true, dataplane.Hop{}
	}
	return dataplane.PutBackend{Index: index, Entry: entry}
}

var (
	forwards = []dataplane.Forward{dataplane.IPIP, dataplane.L2, dataplane.GUE}
	mtus     = []uint16{1500, 1500, 1500, 9000, 1400, 1300, 600, 256, 128}
	vlans    = [][2]uint16{
		{}, {}, {}, {100}, {dataplane.ServiceTag | 200}, {dataplane.ServiceTag | 7<<13 | 300, 400}, {0x2fff, 1},
	}
)

// anyone is the index of a backend, dead ones among them, and seldom of nobody or
// one that was never written.
func (w *World) anyone() uint32 {
	switch w.IntN(32) {
	case 0, 1:
		return dataplane.NoBackend
	case 2:
		return backends + 1
	}
	return 1 + w.Uint32N(firstNAT-1)
}

// service gives a service its slots, and what they go through.
func (w *World) service(id uint32) {
	entry := dataplane.VIPEntry{
		Service: id, FirstSlot: id * slotsEach, SlotCount: among[uint32](w, 13, 31, 7),
		Unsettled: w.oneIn(3), TrackAlways: w.oneIn(4), AffinityClient: w.oneIn(5),
	}
	entry.NAT = w.NAT && id%2 == 1
	w.table = append(w.table, entry)
	owners, conditions := dataplane.PutSlots{Name: "wild"}, dataplane.PutConditions{Name: "wild"}
	for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
		owners.Owners = append(owners.Owners, dataplane.SlotOwner{Slot: slot, Owner: w.anyoneFor(entry)})
		for _, protocol := range protocols {
			conditions.Changes = append(conditions.Changes, dataplane.SlotCondition{
				Slot: slot, Protocol: protocol, Condition: w.condition(protocol),
			})
		}
	}
	w.step(owners)
	w.step(conditions)
}

func (w *World) condition(protocol dataplane.Protocol) dataplane.Condition {
	moving := dataplane.Moving
	if protocol == dataplane.UDP {
		moving = dataplane.Learning
	}
	switch w.IntN(8) {
	case 0, 1:
		return dataplane.Condition{Phase: dataplane.Settling, Second: w.second}
	case 2: // that of the other protocol, which no Diff writes
		return dataplane.Condition{Phase: dataplane.Moving + dataplane.Learning - moving, Fallback: w.anyone(), Second: w.second}
	case 3, 4, 5:
		return dataplane.Condition{Phase: moving, Fallback: w.anyone(), Second: w.second}
	}
	return dataplane.Condition{}
}

// exactVIPs points most addresses and ports at services.
func (w *World) exactVIPs() {
	for _, addr := range vipAddresses {
		before := len(w.vips)
		for _, port := range vipPorts {
			for _, protocol := range protocols {
				if !w.oneIn(5) {
					w.vip(dataplane.VIP{Addr: addr, Port: port, Protocol: protocol})
				}
			}
		}
		if len(w.vips) > before {
			w.step(dataplane.PutAddress{Addr: addr})
		}
	}
}

var protocols = []dataplane.Protocol{dataplane.TCP, dataplane.UDP}

func (w *World) vip(vip dataplane.VIP) {
	put := dataplane.PutVIP{VIP: vip, Entry: w.entry(vip.Protocol)}
	w.vips = append(w.vips, put)
	w.step(put)
}

func (w *World) entry(protocol dataplane.Protocol) dataplane.VIPEntry {
	entry := among(w, w.table...)
	entry.IdleSeconds = among[uint32](w, 3, 20, 60)
	if protocol == dataplane.UDP && w.oneIn(2) {
		entry.QUIC = dataplane.QUIC{Offset: among[uint8](w, 0, 1, 2), Length: among[uint8](w, 1, 2, 8)}
	}
	return entry
}

// wideVIPs are some prefixes, many within each other. Half of the worlds have none.
func (w *World) wideVIPs() {
	if w.oneIn(2) {
		return
	}
	w.step(dataplane.SeeWide{On: true})
	seen := make(map[dataplane.Prefix]bool)
	for range 2 + w.IntN(6) {
		addr := among(w, vipAddresses...)
		bits := among(w, prefixBits4...)
		if addr.Is6() {
			bits = among(w, prefixBits6...)
		}
		prefix := dataplane.Prefix{Addresses: netip.PrefixFrom(addr, bits).Masked(), Protocol: among(w, protocols...)}
		if !seen[prefix] {
			seen[prefix] = true
			w.wideVIPsOf(prefix)
		}
	}
}

// wideVIPsOf are some of: one port, one or two ranges that do not touch, any port.
func (w *World) wideVIPsOf(prefix dataplane.Prefix) {
	of := func(first, last uint16) {
		addr := prefix.Addresses.Addr()
		vip := dataplane.VIP{Addr: addr, Port: first, Protocol: prefix.Protocol, Wide: dataplane.Wide{
			HostBits: uint8(addr.BitLen() - prefix.Addresses.Bits()), LastPort: last,
		}}
		if vip.IsWide() { // else it is one of the exact
			w.vip(vip)
		}
	}
	before := len(w.vips)
	if w.oneIn(2) {
		of(among(w, edges...), 0)
	}
	cuts := w.Perm(len(edges))[:2*w.IntN(3)]
	slices.Sort(cuts)
	for i := 0; i < len(cuts); i += 2 {
		last := edges[cuts[i+1]]
		if w.oneIn(4) {
			last = edges[cuts[i]] // a range of one port
		}
		of(edges[cuts[i]], last)
	}
	if w.oneIn(3) {
		of(dataplane.AnyPort, dataplane.LastOfAnyPort)
	}
	if len(w.vips) > before {
		w.step(dataplane.PutPrefix{Prefix: prefix})
	}
}

// quicIDs name backends by what connection IDs have in them.
func (w *World) quicIDs() {
	for service := range Limits.Services {
		for _, id := range connectionIDs {
			for _, length := range []uint8{1, 2, 8} {
				key := dataplane.QUICKey{Service: service, Length: length}
				copy(key.ID[:length], id[w.IntN(3):])
				if w.oneIn(4) {
					w.step(dataplane.PutQUICID{Key: key, Backend: 1 + w.Uint32N(backends-1)})
				}
			}
		}
	}
}

// flows are of clients that no packet comes from: they fill the table, which is
// as good as empty in some worlds and full in others.
func (w *World) flows() {
	w.Flows = make(dataplane.Flows, Flows)
	taken := among(w, 0, 1, 4, 15, 16)
	for i := range w.Flows {
		if w.IntN(16) >= taken {
			continue
		}
		expires := w.second + w.Uint32N(60)
		if w.oneIn(8) {
			expires = w.second - 1 - w.Uint32N(60)
		}
		w.Flows[i] = uint64(dataplane.MakeFlow(w.Uint64(), 1+w.Uint32N(backends-1), w.oneIn(4), expires))
	}
}

// Tables are what the world is at its beginning.
func (w *World) Tables() *dataplane.Tables {
	tables := dataplane.NewTables(Limits, Slots)
	tables.Flows = slices.Clone(w.Flows)
	for _, step := range w.Steps {
		step.Replay(tables)
	}
	return tables
}
