package dataplane_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	. "github.com/pointsman/pointsman/dataplane"
)

// chance returns a number from 0 to n-1.
type chance func(n int) int

// fromSeed draws from a seed that is printed, so that a failure can be repeated.
func fromSeed(t *testing.T) chance {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("repeat with SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0)).IntN
}

// fromBytes draws from what the fuzzer made up, and zeros after that.
func fromBytes(data []byte) chance {
	return func(n int) int {
		if len(data) == 0 {
			return 0
		}
		drawn := int(data[0]) % n
		data = data[1:]
		return drawn
	}
}

// The world is small, so that wishes collide: few names, VIPs and backends.
var (
	names      = []string{"api", "dns", "mail", "web"}
	slotCounts = []uint32{7, 7, 7, 13, 31}
	roomy      = Limits{Services: 100, VIPs: 100, Backends: 200}
)

func vipNumber(i int) VIP {
	protocol := TCP
	if i%3 == 2 {
		protocol = UDP
	}
	if i%2 == 1 {
		return VIP{Addr: netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)), Port: 443, Protocol: protocol}
	}
	return VIP{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Port: 443, Protocol: protocol}
}

func backendNumber(i int) Backend {
	b := Backend{
		ID:      ID{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})},
		Weight:  1,
		Forward: IPIP,
		Hop:     Hop{Interface: uint32(2 + i%3), MTU: 1500, Source: netip.AddrFrom4([4]byte{10, 0, 0, 254})},
	}
	if i%4 == 3 {
		b.Addr, b.Hop.Source = netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", i)), netip.MustParseAddr("2001:db8:1::ff")
	}
	if i%5 == 4 {
		b.Port, b.Hop.VLAN = 8080, [2]uint16{100, uint16(i)}
	}
	return b
}

// drawState draws a state with unique names. VIPs are claimed twice only if
// quarrels are asked for, together with other impossible wishes.
func drawState(draw chance, quarrels bool) State {
	state := State{NAT: DefaultNATSettings(), Ingress: []uint32{clientsAt}}
	state.NAT.Timeouts.UDP += uint32(draw(2))
	taken := make(map[VIP]bool)
	for _, name := range names {
		if draw(4) == 0 {
			continue
		}
		s := Service{Name: name, Slots: slotCounts[draw(len(slotCounts))]}
		for range draw(4) {
			vip := vipNumber(draw(7))
			if draw(3) == 0 {
				vip = wideVIPs[draw(len(wideVIPs))]
			}
			if quarrels || !taken[vip] {
				taken[vip] = true
				s.VIPs = append(s.VIPs, vip)
			}
		}
		s.Backends = drawBackends(draw)
		if draw(4) == 0 {
			s.QUIC = QUIC{Offset: uint8(draw(2)), Length: uint8(1 + draw(2))}
			for i := range s.Backends {
				if draw(4) > 0 {
					addr := s.Backends[i].Addr.As16()
					s.Backends[i].QUICID = string(addr[16-s.QUIC.Length:])
				}
			}
		}
		s.Tracking = []Tracking{TrackAuto, TrackAuto, TrackAuto, TrackAlways, TrackNever}[draw(5)]
		s.AffinityClient = draw(6) == 0
		s.IdleTCP, s.IdleUDP = uint32(draw(3))*20, uint32(draw(3))*5
		if draw(4) == 0 {
			s = toNAT(s)
		}
		if quarrels && draw(12) == 0 {
			s.Slots = 12
		}
		s.Keep = draw(12) == 0
		state.Services = append(state.Services, s)
	}
	return state
}

// clientsAt is an interface that no backend is behind.
const clientsAt = 9

// toNAT is a service as it would be under nat.
func toNAT(s Service) Service {
	s.NAT = true
	s.Backends = slices.Clone(s.Backends)
	for i := range s.Backends {
		s.Backends[i].Forward, s.Backends[i].Port = NAT, cmp.Or(s.Backends[i].Port, 443)
	}
	return s
}

func drawBackends(draw chance) []Backend {
	var backends []Backend
	first, count := draw(8), draw(6)
	for i := range count {
		b := backendNumber(first + i)
		b.Weight = uint16(draw(4))
		if draw(4) == 0 {
			b.Hop.Interface = uint32(2 + draw(4))
			b.Hop.NextHopMAC[5] = byte(draw(3))
		}
		if draw(5) == 0 {
			b.Forward = L2
		}
		backends = append(backends, b)
	}
	if draw(3) == 0 && count > 1 {
		backends[0], backends[count-1] = backends[count-1], backends[0]
	}
	return backends
}

func drawLimits(draw chance) (Limits, uint32) {
	if draw(2) == 0 {
		return roomy, 500
	}
	return Limits{Services: uint32(1 + draw(6)), VIPs: uint32(1 + draw(10)), Backends: uint32(1 + draw(25))}, uint32(10 + draw(100))
}
