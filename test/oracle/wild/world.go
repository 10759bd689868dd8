package wild

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// What the maps have to have room for.
var Limits = dataplane.Limits{Services: 8, VIPs: 256, Backends: 64}

// Slots is how many all services have together, Flows how many may be
// remembered: few, so that buckets are full now and then.
const (
	Slots = 8 * slotsEach
	Flows = 256

	slotsEach = 32
	backends  = 16 // indexes from 1 on
)

// Interfaces that frames come and go by. Frames come in on Loopback.
type Interfaces struct{ Loopback, Egress, Missing uint32 }

// World is what a balancer holds, drawn by a number: steps that make it of
// nothing.
func World(number uint16, at Interfaces, second uint32) []dataplane.Step {
	w := &world{Rand: rand.New(rand.NewPCG(uint64(number), 1)), at: at, second: second}
	w.steps = append(w.steps, dataplane.PutEgress{Interface: at.Egress})
	for index := uint32(1); index < backends; index++ {
		w.backend(index)
	}
	for service := range Limits.Services {
		w.service(service)
	}
	w.vips()
	w.wideVIPs()
	w.quicIDs()
	return w.steps
}

type world struct {
	*rand.Rand
	at     Interfaces
	second uint32
	steps  []dataplane.Step
	table  []dataplane.VIPEntry // of each service
}

func (w *world) oneIn(n int) bool { return w.IntN(n) == 0 }

func among[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

var (
	source4 = netip.MustParseAddr("203.0.113.1")
	source6 = netip.MustParseAddr("2001:db8:20::1")
)

func (w *world) backend(index uint32) {
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
	if w.oneIn(8) {
		entry.Hop.NextHopMAC = clientMACs[0]
	}
	if w.oneIn(10) {
		entry.Dead, entry.Hop = true, dataplane.Hop{}
	}
	w.steps = append(w.steps, dataplane.PutBackend{Index: index, Entry: entry, New: true})
}

var (
	forwards = []dataplane.Forward{dataplane.IPIP, dataplane.L2, dataplane.GUE}
	mtus     = []uint16{1500, 1500, 1500, 9000, 1400, 1300, 600, 256, 128}
	vlans    = [][2]uint16{
		{}, {}, {}, {100}, {dataplane.ServiceTag | 200}, {dataplane.ServiceTag | 7<<13 | 300, 400}, {0x2fff, 1},
	}
)

// anyone is the index of a backend, dead ones among them, and seldom of nobody.
func (w *world) anyone() uint32 {
	if w.oneIn(16) {
		return dataplane.NoBackend
	}
	return 1 + w.Uint32N(backends-1)
}

// service gives a service its slots, and what they go through.
func (w *world) service(id uint32) {
	entry := dataplane.VIPEntry{
		Service: id, FirstSlot: id * slotsEach, SlotCount: among[uint32](w, 13, 31, 7),
		Unsettled: w.oneIn(3), TrackAlways: w.oneIn(4), AffinityClient: w.oneIn(5),
	}
	w.table = append(w.table, entry)
	owners, conditions := dataplane.PutSlots{Name: "wild"}, dataplane.PutConditions{Name: "wild"}
	for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
		owners.Owners = append(owners.Owners, dataplane.SlotOwner{Slot: slot, Owner: w.anyone()})
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			conditions.Changes = append(conditions.Changes, dataplane.SlotCondition{
				Slot: slot, Protocol: protocol, Condition: w.condition(protocol),
			})
		}
	}
	w.steps = append(w.steps, owners, conditions)
}

func (w *world) condition(protocol dataplane.Protocol) dataplane.Condition {
	moving := dataplane.Moving
	if protocol == dataplane.UDP {
		moving = dataplane.Learning
	}
	switch w.IntN(4) {
	case 0:
		return dataplane.Condition{Phase: dataplane.Settling, Second: w.second}
	case 1, 2:
		return dataplane.Condition{Phase: moving, Fallback: w.anyone(), Second: w.second}
	}
	return dataplane.Condition{}
}

// vips points most addresses and ports at services.
func (w *world) vips() {
	for _, addr := range vipAddresses {
		w.steps = append(w.steps, dataplane.PutAddress{Addr: addr})
		for _, port := range vipPorts {
			for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
				if w.oneIn(5) {
					continue
				}
				w.vip(dataplane.VIP{Addr: addr, Port: port, Protocol: protocol})
			}
		}
	}
}

func (w *world) vip(vip dataplane.VIP) {
	entry := among(w, w.table...)
	entry.IdleSeconds = among[uint32](w, 3, 20, 60)
	if vip.Protocol == dataplane.UDP && w.oneIn(2) {
		entry.QUIC = dataplane.QUIC{Offset: among[uint8](w, 0, 1, 2), Length: among[uint8](w, 1, 2, 8)}
	}
	w.steps = append(w.steps, dataplane.PutVIP{VIP: vip, Entry: entry})
}

// wideVIPs are prefixes within each other, with blocks of ports: those that
// ranges are written as. Half of the worlds have none.
func (w *world) wideVIPs() {
	if w.oneIn(2) {
		return
	}
	w.steps = append(w.steps, dataplane.SeeWide{On: true})
	for _, prefix := range widePrefixes {
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			var put bool
			for _, ports := range widePorts {
				vip := dataplane.VIP{
					Addr: prefix.Addr(), Port: ports[0], Protocol: protocol,
					Wide: dataplane.Wide{HostBits: uint8(prefix.Addr().BitLen() - prefix.Bits()), LastPort: ports[1]},
				}
				if vip.IsWide() && w.oneIn(2) {
					put = true
					w.vip(vip)
				}
			}
			if put {
				w.steps = append(w.steps, dataplane.PutPrefix{Prefix: dataplane.Prefix{Addresses: prefix, Protocol: protocol}})
			}
		}
	}
}

// quicIDs name backends by what connection IDs have in them.
func (w *world) quicIDs() {
	for service := range Limits.Services {
		for _, id := range connectionIDs {
			for _, length := range []uint8{1, 2, 8} {
				key := dataplane.QUICKey{Service: service, Length: length}
				copy(key.ID[:length], id[w.IntN(3):])
				if w.oneIn(4) {
					w.steps = append(w.steps, dataplane.PutQUICID{Key: key, Backend: 1 + w.Uint32N(backends-1)})
				}
			}
		}
	}
}
