package kernel

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// path is what a packet meets. Those before the last prepare the way.
type path struct {
	name     string
	service  func(*dataplane.Service)
	phase    dataplane.Phase
	packets  []flow
	answered bool // it is about what the backend answers the last one
}

var (
	syn6      = flow{protocol: dataplane.TCP, v6: true}
	datagram6 = flow{protocol: dataplane.UDP, v6: true}
)

var paths = []path{
	{name: "established-tcp4-ipip", packets: []flow{segment4}},
	{name: "syn-tcp4-ipip", packets: []flow{syn4}},
	{name: "udp4-ipip", packets: []flow{datagram4}},
	{name: "established-tcp6-ipip", packets: []flow{segment6}},
	{name: "udp6-ipip", packets: []flow{datagram6}},
	{name: "established-tcp4-gue", service: by(dataplane.GUE), packets: []flow{segment4}},
	{name: "established-tcp6-gue", service: by(dataplane.GUE), packets: []flow{segment6}},
	{name: "established-tcp4-l2", service: by(dataplane.L2), packets: []flow{segment4}},
	{name: "syn-tcp6-ipip", packets: []flow{syn6}},
	{name: "established-tcp4-ipip-over-6", service: otherFamily, packets: []flow{segment4}},
	{name: "established-tcp6-ipip-over-4", service: otherFamily, packets: []flow{segment6}},
	{name: "udp4-gue", service: by(dataplane.GUE), packets: []flow{datagram4}},
	{name: "established-tcp6-l2", service: by(dataplane.L2), packets: []flow{segment6}},
	{name: "established-tcp4-redirect", service: byAnotherInterface, packets: []flow{segment4}},
	{name: "client-affinity-tcp4", service: func(s *dataplane.Service) { s.AffinityClient = true }, packets: []flow{segment4}},
	{name: "pass-notvip", packets: []flow{segment4.at(7)}},
	{name: "pass-notvip6", packets: []flow{segment6.at(7)}},
	{name: "moving-insert", phase: dataplane.Moving, packets: []flow{syn4}},
	{name: "moving-hit", phase: dataplane.Moving, packets: []flow{syn4, segment4, segment4}},
	{name: "moving-miss", phase: dataplane.Moving, packets: []flow{segment4, segment4}},
	{name: "moving-hit6", phase: dataplane.Moving, packets: []flow{syn6, segment6, segment6}},
	{name: "settling-miss", phase: dataplane.Settling, packets: []flow{segment4, segment4}},
	{name: "learning-insert", phase: dataplane.Learning, packets: []flow{datagram4}},
	{name: "learning-hit", phase: dataplane.Learning, packets: []flow{datagram4, datagram4}},
	{name: "always-insert", service: always, packets: []flow{syn4}},
	{name: "always-hit", service: always, packets: []flow{syn4, segment4, segment4}},
	{name: "shared-place-tcp4", service: sharePlace, packets: []flow{segment4}},
	{name: "wide-tcp4", service: anyPort, packets: []flow{segment4.at(7)}},
	{name: "wide-pass-notvip", service: anyPort, packets: []flow{datagram4.at(7)}},
	{name: "nat-new-tcp4", service: nat(false), packets: []flow{syn4}},
	{name: "nat-new-tcp6", service: nat(true), packets: []flow{syn6}},
	{name: "nat-established-tcp4", service: nat(false), packets: []flow{syn4, segment4, segment4}},
	{name: "nat-established-udp4", service: nat(false), packets: []flow{datagram4, datagram4, datagram4}},
	{name: "nat-established-tcp6", service: nat(true), packets: []flow{syn6, segment6, segment6}},
	{name: "nat-established-tcp4to6", service: nat(true), packets: []flow{syn4, segment4, segment4}},
	{name: "nat-established-tcp6to4", service: nat(false), packets: []flow{syn6, segment6, segment6}},
	{name: "nat-reply-tcp4", service: nat(false), packets: []flow{syn4, segment4}, answered: true},
	{name: "nat-reply-udp4", service: nat(false), packets: []flow{datagram4, datagram4}, answered: true},
	{name: "nat-reply-tcp6", service: nat(true), packets: []flow{syn6, segment6}, answered: true},
	{name: "nat-reply-tcp4to6", service: nat(true), packets: []flow{syn4, segment4}, answered: true},
	{name: "nat-reply-tcp6to4", service: nat(false), packets: []flow{syn6, segment6}, answered: true},
	{name: "nat-pass-notvip", service: nat(false), packets: []flow{segment4.at(7)}},
}

func always(s *dataplane.Service) { s.Tracking = dataplane.TrackAlways }

func by(forward dataplane.Forward) func(*dataplane.Service) {
	return func(s *dataplane.Service) {
		for i := range s.Backends {
			s.Backends[i].Forward = forward
		}
	}
}

func byAnotherInterface(s *dataplane.Service) {
	for i := range s.Backends {
		s.Backends[i].Hop.Interface = loopback + 1
	}
}

// otherFamily has backends that are reached over the other one.
func otherFamily(s *dataplane.Service) {
	s.Backends = manyBackends(2, s.Backends[0].Addr.Is4(), dataplane.IPIP)
}

// nat has backends of one family for clients of both.
func nat(v6 bool) func(*dataplane.Service) {
	return func(s *dataplane.Service) {
		s.NAT, s.Backends = true, manyBackends(2, v6, dataplane.NAT)
		for i := range s.Backends {
			s.Backends[i].Port = natPort
		}
	}
}

// anyPort is for TCP alone.
func anyPort(s *dataplane.Service) {
	s.VIPs = []dataplane.VIP{{Addr: vip4, Protocol: dataplane.TCP, Wide: dataplane.Wide{LastPort: dataplane.LastOfAnyPort}}}
}

// sharePlace adds a VIP that has the place of the first one.
func sharePlace(s *dataplane.Service) {
	hash, other := dataplane.NewHash(machineSecret), s.VIPs[0]
	for other.Port++; (hash.Place(other)^hash.Place(s.VIPs[0]))%(testLimits.VIPs*placesPerVIP) != 0; other.Port++ {
	}
	s.VIPs = append(s.VIPs, other)
}

// machine is one that has seen nothing yet.
func (p *path) machine(t testing.TB) *machine {
	t.Helper()
	service := serviceOn("web", manyBackends(2, p.packets[0].v6, dataplane.IPIP)...)
	if p.service != nil {
		p.service(&service)
	}
	m := shippedMachine(t, service)
	if p.phase != dataplane.Settled {
		m.unsettle(p.packets[0].protocol, p.phase)
	}
	return m
}

// cost is that of the last packet.
func (p *path) cost(t testing.TB) (cost, error) {
	t.Helper()
	m := p.machine(t)
	frames := make([][]byte, 0, len(p.packets)+1)
	for _, f := range p.packets {
		frames = append(frames, f.frame())
	}
	for i := 0; i < len(frames); i++ {
		verdict, err := m.run(frames[i])
		if err != nil {
			return cost{}, err
		}
		if want := p.verdict(); verdict != want {
			return cost{}, fmt.Errorf("the verdict on packet %d is %d, want %d", i, verdict, want)
		}
		if p.answered && i == len(p.packets)-1 {
			reply := answer(overhear(m.frame()), "A", string(make([]byte, 64)))
			reply.macs = [2]string{string(nextHopMAC), string(egressMAC)}
			frames = append(frames, reply.frame(t))
		}
	}
	return m.cost, nil
}

func (p *path) verdict() uint32 {
	switch {
	case strings.Contains(p.name, "pass"):
		return xdpPass
	case strings.Contains(p.name, "redirect"):
		return xdpRedirect
	}
	return xdpTX
}
