package kernel

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// natStage is a balancer with one service whose backends are behind NAT.
type natStage struct {
	*harness
	settings dataplane.NATSettings
	skew     uint32
}

// The port that a backend listens on, of all things.
const natPort = 8080

func natBackend(addr netip.Addr) dataplane.Backend {
	backend := backendTo(addr, dataplane.NAT, loopback)
	backend.Port = natPort
	return backend
}

// natOptions have room for some connections.
func natOptions(t testing.TB, connections uint32) Options {
	return Options{PinDir: pinDir(t), Secret: 42, Limits: testLimits, Slots: 4096, Flows: 64, Connections: connections}
}

func newNAT(t testing.TB, options Options, settings dataplane.NATSettings, backends ...dataplane.Backend) *natStage {
	t.Helper()
	plane, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	s := &natStage{harness: harnessOn(t, plane), settings: settings}
	s.serve(backends...)
	return s
}

// serve gives the service these backends.
func (s *natStage) serve(backends ...dataplane.Backend) {
	s.t.Helper()
	service := serviceOn("web", backends...)
	service.NAT = true
	steps, problems := dataplane.Diff(s.tables, dataplane.State{Services: []dataplane.Service{service}, NAT: s.settings})
	if len(problems) > 0 {
		s.t.Fatal(problems)
	}
	s.apply(steps...)
}

// wait lets so many seconds go by.
func (s *natStage) wait(seconds uint32) {
	s.skew += seconds
	s.turnClock(s.skew)
}

// request sends a client's packet and returns it as the backend gets it.
func (s *natStage) request(p talk) talk {
	s.t.Helper()
	got := s.send(p.frame(s.t))
	if got.verdict != xdpTX || got.moved["REPLY_BACKEND"] != 0 || len(got.moved) != 1 {
		s.t.Fatalf("a request's verdict is %d, and counters moved by %v", got.verdict, got.moved)
	}
	return hear(s.t, got.frame)
}

// reply sends a backend's packet and returns it as the client gets it.
func (s *natStage) reply(p talk) talk {
	s.t.Helper()
	if p.macs == [2]string{} {
		p.macs = [2]string{string(nextHopMAC), string(egressMAC)}
	}
	got := s.send(p.frame(s.t))
	if want := map[string]uint64{"REPLY_BACKEND": 1}; got.verdict != xdpTX || !maps.Equal(got.moved, want) {
		s.t.Fatalf("a reply's verdict is %d, and counters moved by %v", got.verdict, got.moved)
	}
	return hear(s.t, got.frame)
}

// refuse sends a packet that must meet another outcome than going on.
func (s *natStage) refuse(p talk, outcome string) {
	s.t.Helper()
	if got := s.send(p.frame(s.t)); !maps.Equal(got.moved, map[string]uint64{outcome: 1}) {
		s.t.Errorf("counters moved by %v, want %s", got.moved, outcome)
	}
}

// answer is what a backend sends back to a packet that it got.
func answer(got talk, flags, payload string) talk {
	return talk{from: got.to, to: got.from, protocol: got.protocol, flags: flags, seq: 5000, ack: got.seq + 1, payload: payload}
}

func (s *natStage) connections() map[netip.AddrPort]dataplane.Connection {
	all := make(map[netip.AddrPort]dataplane.Connection)
	for c := range s.plane.Connections(monotonicSecond() + s.skew) {
		all[c.Client] = c
	}
	return all
}
