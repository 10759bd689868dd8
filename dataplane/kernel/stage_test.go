package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
)

// stage is a balancer whose services have one backend each. A VIP's port tells
// the way to it; wide VIPs and QUIC have ways of their own (stage_wide_test.go).
type stage struct {
	*harness
	oracle   *oracle.Balancer
	backends map[uint16]uint32 // index by the way
	skew     uint32            // of the program's clock, in seconds
}

// The stageWays, by their VIPs' port.
const (
	ipipTo4 uint16 = 80 + iota
	ipipTo6
	gueTo4
	gueTo6
	l2
	elsewhere   // over another interface than packets come in on
	l2Elsewhere // likewise
	inVLAN      // in a VLAN
	doubleTagged
	serviceTagged
	l2Tagged
	gueElsewhere // over another interface, in a stack of two VLANs with priorities
	prioritised  // in a VLAN with priority 7
	priorityOnly // with a priority and no VLAN
	guePortTo4   // the instance listens on another port than the VIP's
	guePortTo6
	ipipPort // likewise, which only the backend knows
	nobody   // no backend
	nowhere  // over an interface that packets may not be redirected to
	outside  // slots that the map does not have
	noVIP    // and no service
)

// way is how packets get to a service's backend.
type way struct {
	forward dataplane.Forward
	addr    netip.Addr
	port    uint16 // where the instance listens; 0 for the VIP's
	away    bool   // by a redirect
	vlan    [2]uint16
}

// The tags that frames leave with.
const (
	customer = 100
	provider = dataplane.ServiceTag | 200
)

var stageWays = map[uint16]way{
	ipipTo4:       {forward: dataplane.IPIP, addr: backend4},
	ipipTo6:       {forward: dataplane.IPIP, addr: backend6},
	gueTo4:        {forward: dataplane.GUE, addr: backend4},
	gueTo6:        {forward: dataplane.GUE, addr: backend6},
	guePortTo4:    {forward: dataplane.GUE, addr: backend4, port: 20001},
	guePortTo6:    {forward: dataplane.GUE, addr: backend6, port: 20002},
	ipipPort:      {forward: dataplane.IPIP, addr: backend6, port: 20003},
	l2:            {forward: dataplane.L2, addr: backend4},
	elsewhere:     {forward: dataplane.IPIP, addr: backend4, away: true},
	l2Elsewhere:   {forward: dataplane.L2, addr: backend6, away: true},
	inVLAN:        {forward: dataplane.IPIP, addr: backend4, vlan: [2]uint16{customer}},
	doubleTagged:  {forward: dataplane.GUE, addr: backend6, vlan: [2]uint16{provider, customer}},
	serviceTagged: {forward: dataplane.IPIP, addr: backend6, vlan: [2]uint16{provider}},
	l2Tagged:      {forward: dataplane.L2, addr: backend4, vlan: [2]uint16{customer}},
	gueElsewhere:  {forward: dataplane.GUE, addr: backend6, away: true, vlan: [2]uint16{3<<13 | 200, 1<<13 | customer}},
	prioritised:   {forward: dataplane.L2, addr: backend6, vlan: [2]uint16{7<<13 | 4094}},
	priorityOnly:  {forward: dataplane.GUE, addr: backend4, vlan: [2]uint16{5 << 13}},
}

// wayTo is any way, by its name.
func wayTo(to uint16) way {
	if way, known := stageWays[to]; known {
		return way
	}
	return specialWays[to]
}

func newStage(t *testing.T) *stage {
	egress := inNamespace(t)
	s := &stage{harness: newHarness(t), backends: make(map[uint16]uint32)}
	services := append(specialServices(), s.service(nobody))
	for port, way := range stageWays {
		via := uint32(loopback)
		if way.away {
			via = egress
		}
		backend := backendTo(way.addr, way.forward, via)
		backend.Hop.VLAN, backend.Port = way.vlan, way.port
		services = append(services, s.service(port, backend))
	}
	slices.SortFunc(services, func(a, b dataplane.Service) int { return strings.Compare(a.Name, b.Name) })
	s.want(services...)
	s.leadNowhere()
	for index, backend := range s.tables.Backends {
		for to := range stageWays {
			if s.tables.Services[backend.Service].Name == serviceName(to) {
				s.backends[to] = index
			}
		}
		for to, way := range specialWays {
			if backend.ID.Addr == way.addr {
				s.backends[to] = index
			}
		}
	}
	return s
}

func serviceName(port uint16) string { return fmt.Sprintf("port-%d", port) }

// service has VIPs of both families and protocols on a port.
func (s *stage) service(port uint16, backends ...dataplane.Backend) dataplane.Service {
	service := serviceOn(serviceName(port), backends...)
	service.Slots = 13
	for i := range service.VIPs {
		service.VIPs[i].Port = port
	}
	return service
}

// leadNowhere points a VIP at a backend behind an interface that packets may
// not be redirected to, and one at slots outside the map, which no Diff would do.
func (s *stage) leadNowhere() {
	const index, slot = 40, 4000
	backend := backendTo(backend4, dataplane.IPIP, 0x7ffffff)
	s.apply(
		dataplane.PutBackend{Index: index, Entry: dataplane.BackendEntry{ID: backend.ID, Forward: backend.Forward, Hop: backend.Hop}, New: true},
		dataplane.PutSlots{Name: "nowhere", Owners: []dataplane.SlotOwner{{Slot: slot, Owner: index}}},
		dataplane.PutVIP{
			VIP:   dataplane.VIP{Addr: vip4, Port: nowhere, Protocol: dataplane.TCP},
			Entry: dataplane.VIPEntry{FirstSlot: slot, SlotCount: 1},
		},
		dataplane.PutVIP{
			VIP:   dataplane.VIP{Addr: vip4, Port: outside, Protocol: dataplane.TCP},
			Entry: dataplane.VIPEntry{FirstSlot: 1 << 30, SlotCount: 1},
		},
	)
}

// courtSecond is when the oracle sees packets, and betweenCases how much time goes
// by before the program's next row.
const courtSecond, betweenCases = 5000, 30

// forget lets a row begin with nothing remembered: so much time goes by.
func (s *stage) forget() {
	s.skew += betweenCases
	if err := s.plane.objects.ClockSkewSeconds.Set(s.skew); err != nil {
		s.t.Fatal(err)
	}
	s.oracle = oracle.New(s.tables, dataplane.NewHash(42), oracle.Settings{ErrorsPerSecond: 1000})
}

// foresee is what the oracle says of a packet.
func (s *stage) foresee(frame []byte) result {
	fate := s.oracle.Receive(oracle.Arrival{Frame: frame, Interface: loopback, Second: courtSecond, Headroom: 192})
	counter := string(fate.Outcome)
	if fate.Outcome == oracle.Forward {
		counter = fmt.Sprintf("backend %d", fate.Backend)
	}
	return result{verdict: uint32(fate.Verdict), frame: fate.Frame, moved: map[string]uint64{counter: 1}}
}

// verdict follows from the outcome's name and, for FORWARD, from the way.
func (s *stage) verdict(f fate) uint32 {
	switch {
	case strings.HasPrefix(f.outcome, "PASS_"):
		return xdpPass
	case strings.HasPrefix(f.outcome, "REPLY_"):
		return xdpTX
	case f.outcome == "FORWARD" && wayTo(f.to).away:
		return xdpRedirect
	case f.outcome == "FORWARD":
		return xdpTX
	}
	return xdpDrop
}

// counter is the one that moves.
func (s *stage) counter(f fate) string {
	if f.outcome == "FORWARD" {
		return fmt.Sprintf("backend %d", s.backends[f.to])
	}
	return f.outcome
}
