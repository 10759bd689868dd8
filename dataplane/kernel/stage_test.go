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
// the way to it.
type stage struct {
	*harness
	oracle   *oracle.Balancer
	backends map[uint16]uint32 // index by the way's port
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
	nobody  // no backend
	nowhere // over an interface that packets may not be redirected to
	noVIP   // and no service
)

// way is how packets get to a service's backend.
type way struct {
	forward dataplane.Forward
	addr    netip.Addr
	away    bool // by a redirect
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
	l2:            {forward: dataplane.L2, addr: backend4},
	elsewhere:     {forward: dataplane.IPIP, addr: backend4, away: true},
	l2Elsewhere:   {forward: dataplane.L2, addr: backend6, away: true},
	inVLAN:        {forward: dataplane.IPIP, addr: backend4, vlan: [2]uint16{customer}},
	doubleTagged:  {forward: dataplane.GUE, addr: backend6, vlan: [2]uint16{provider, customer}},
	serviceTagged: {forward: dataplane.IPIP, addr: backend6, vlan: [2]uint16{provider}},
	l2Tagged:      {forward: dataplane.L2, addr: backend4, vlan: [2]uint16{customer}},
}

func newStage(t *testing.T) *stage {
	egress := inNamespace(t)
	s := &stage{harness: newHarness(t), backends: make(map[uint16]uint32)}
	services := []dataplane.Service{s.service(nobody)}
	for port, way := range stageWays {
		via := uint32(loopback)
		if way.away {
			via = egress
		}
		backend := backendTo(way.addr, way.forward, via)
		backend.Hop.VLAN = way.vlan
		services = append(services, s.service(port, backend))
	}
	slices.SortFunc(services, func(a, b dataplane.Service) int { return strings.Compare(a.Name, b.Name) })
	s.want(services...)
	s.leadNowhere()
	for vip, entry := range s.tables.VIPs {
		s.backends[vip.Port] = s.tables.Slots[entry.FirstSlot]
	}
	return s
}

// service has VIPs of both families and protocols on a port.
func (s *stage) service(port uint16, backends ...dataplane.Backend) dataplane.Service {
	service := serviceOn(fmt.Sprintf("port-%d", port), backends...)
	for i := range service.VIPs {
		service.VIPs[i].Port = port
	}
	return service
}

// leadNowhere points a VIP at a backend behind an interface that packets may
// not be redirected to, which no Diff would do.
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
	)
}

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
	case f.outcome == "FORWARD" && stageWays[f.to].away:
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
