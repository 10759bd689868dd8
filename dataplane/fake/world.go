package fake

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// The world of histories is small, so that flows meet in slots and buckets.

// dice are bytes that decide; when they are used up, all fall on zero.
type dice struct{ left []byte }

// roll returns a number from 0 to n-1, n at most 256.
func (d *dice) roll(n int) int {
	if len(d.left) == 0 {
		return 0
	}
	rolled := int(d.left[0]) % n
	d.left = d.left[1:]
	return rolled
}

func (d *dice) over() bool { return len(d.left) == 0 }

func pick[T any](d *dice, from []T) T { return from[d.roll(len(from))] }

// service is what is wished for one service.
type service struct {
	dataplane.Service
	vips     []dataplane.VIP // all that it may have
	backends []member
}

// member is a backend by its number. With each revision its next hop changes.
type member struct {
	number, revision int
	weight           uint16
}

var (
	address4 = netip.MustParseAddr("192.0.2.10")
	address6 = netip.MustParseAddr("2001:db8:10::10")

	webVIPs = []dataplane.VIP{
		{Addr: address4, Port: 80, Protocol: dataplane.TCP},
		{Addr: address6, Port: 80, Protocol: dataplane.TCP},
		{Addr: address4, Port: 80, Protocol: dataplane.UDP},
		{Addr: address6, Port: 80, Protocol: dataplane.UDP},
	}
	// A range of ports and a prefix, and packets to them.
	dnsVIPs = []dataplane.VIP{
		{Addr: address4, Port: 51, Protocol: dataplane.UDP, Wide: dataplane.Wide{LastPort: 53}},
		{Addr: netip.MustParseAddr("192.0.2.8"), Port: 53, Protocol: dataplane.TCP, Wide: dataplane.Wide{HostBits: 3}},
	}
	dnsPackets = []dataplane.VIP{
		{Addr: address4, Port: 53, Protocol: dataplane.UDP},
		{Addr: address4, Port: 53, Protocol: dataplane.TCP},
	}
	idles = []uint32{20, 1, 3, 9, 90}
)

const longestIdle = 90

// slotCounts are primes, small enough for many flows to a slot.
var slotCounts = []uint32{13, 5, 23, 31}

func drawServices(d *dice) []service {
	services := []service{
		{Service: dataplane.Service{Name: "dns", Slots: pick(d, slotCounts)}, vips: dnsVIPs},
		{Service: dataplane.Service{Name: "web", Slots: pick(d, slotCounts)}, vips: webVIPs},
	}
	for i := range services {
		s := &services[i]
		s.VIPs = s.vips
		s.IdleTCP, s.IdleUDP = pick(d, idles), pick(d, idles)
		if d.roll(4) == 3 {
			s.Tracking = dataplane.TrackAlways
		}
		s.AffinityClient = d.roll(8) == 7
		for number := range 1 + d.roll(4) {
			s.backends = append(s.backends, member{number: number, weight: 1})
		}
	}
	return services
}

// wanted is the service in the terms of Diff.
func (s *service) wanted() dataplane.Service {
	wanted := s.Service
	wanted.VIPs = slices.Clone(s.VIPs)
	wanted.Backends = nil
	for _, m := range s.backends {
		wanted.Backends = append(wanted.Backends, dataplane.Backend{
			ID:      m.id(),
			Weight:  m.weight,
			Forward: dataplane.L2,
			Hop: dataplane.Hop{
				Interface:  1,
				EgressMAC:  [6]byte{2, 0, 0, 0, 0, 1},
				NextHopMAC: [6]byte{2, s.Name[0], byte(m.number), byte(m.revision), 0, 1},
				MTU:        1500,
			},
		})
	}
	return wanted
}

func (m member) id() dataplane.ID {
	return dataplane.ID{Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(20 + m.number)})}
}

// drawPacket is of one of few flows. Most TCP packets are no SYNs.
func drawPacket(d *dice) Packet {
	vips := webVIPs
	number := d.roll(256)
	if number%8 == 0 {
		vips = dnsPackets
	}
	number /= 8
	p := Packet{VIP: vips[number%len(vips)]}
	number /= len(vips)
	from := netip.AddrFrom4([4]byte{198, 51, 100, byte(number % 2)})
	if p.VIP.Addr.Is6() {
		from = netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 9: byte(number % 2), 15: 7})
	}
	twist := d.roll(32)
	p.Client = netip.AddrPortFrom(from, uint16(40000+number/2))
	p.SYN = p.VIP.Protocol == dataplane.TCP && twist%4 == 3
	return p
}

func (p Packet) String() string {
	kind := "a packet"
	if p.SYN {
		kind = "a SYN"
	}
	return fmt.Sprintf("%s from %s to %s", kind, p.Client, p.VIP)
}

// drawSeconds is a second or two, or about as long as something may be silent.
func (h *History) drawSeconds() uint32 {
	kind := h.dice.roll(32)
	if kind < 24 {
		return uint32(kind/10 + 1)
	}
	s := &h.wish[h.dice.roll(len(h.wish))]
	around := []uint32{s.IdleTCP, s.IdleUDP, synOnlySeconds, longestIdle}[kind/2%4]
	return around + uint32(h.dice.roll(3)) - 1
}

// change changes one wish, and says which.
func (h *History) change() string {
	s := &h.wish[(1+h.dice.roll(4))/2%2] // mostly web
	switch kind := h.dice.roll(32); {
	case kind < 8:
		return s.join(h.dice.roll(6))
	case kind < 14:
		return s.leave(h.dice.roll(12))
	case kind < 24 && len(s.backends) > 0:
		m := &s.backends[h.dice.roll(len(s.backends))]
		m.weight = pick(&h.dice, []uint16{1, 0, 2, 0, 5})
		return fmt.Sprintf("%s gives backend number %d the weight %d", s.Name, m.number, m.weight)
	case kind < 26 && len(s.backends) > 0:
		m := &s.backends[h.dice.roll(len(s.backends))]
		m.revision++
		return fmt.Sprintf("%s has another hop to backend number %d", s.Name, m.number)
	case h.reconfigures:
		return h.reconfigure(s, kind)
	}
	return "nothing else"
}

func (s *service) join(number int) string {
	for _, m := range s.backends {
		if m.number == number {
			return fmt.Sprintf("%s keeps backend number %d", s.Name, number)
		}
	}
	s.backends = append(s.backends, member{number: number, weight: 1})
	return fmt.Sprintf("%s gets backend number %d", s.Name, number)
}

func (s *service) leave(place int) string {
	if place >= len(s.backends) {
		return fmt.Sprintf("%s loses nobody", s.Name)
	}
	gone := s.backends[place]
	s.backends = slices.Delete(slices.Clone(s.backends), place, place+1)
	return fmt.Sprintf("%s loses backend number %d", s.Name, gone.number)
}

// reconfigure changes what is not about backends.
func (h *History) reconfigure(s *service, kind int) string {
	switch kind % 8 {
	case 0, 1:
		s.Slots = pick(&h.dice, slotCounts)
		return fmt.Sprintf("%s has %d slots", s.Name, s.Slots)
	case 2, 3:
		s.Tracking = pick(&h.dice, []dataplane.Tracking{
			dataplane.TrackAuto, dataplane.TrackAlways, dataplane.TrackAuto, dataplane.TrackNever,
		})
		return fmt.Sprintf("%s has tracking %d", s.Name, s.Tracking)
	case 4, 5:
		s.IdleTCP, s.IdleUDP = pick(&h.dice, idles), pick(&h.dice, idles)
		return fmt.Sprintf("%s has idle timeouts %d and %d", s.Name, s.IdleTCP, s.IdleUDP)
	case 6:
		s.AffinityClient = !s.AffinityClient
		return fmt.Sprintf("%s has affinity by client: %t", s.Name, s.AffinityClient)
	default:
		s.VIPs = s.vips[:h.dice.roll(len(s.vips)+1)]
		return fmt.Sprintf("%s has %d VIPs", s.Name, len(s.VIPs))
	}
}
