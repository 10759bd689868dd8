package kernel

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// explained is what an operator is told of a client's packet at a second.
func (s *natStage) explained(p talk, second uint32) dataplane.Choice {
	s.t.Helper()
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	hash := dataplane.NewHash(42)
	e, found := tables.Explain(&hash, p.from, dataplane.VIP{Addr: p.to.Addr(), Port: p.to.Port(), Protocol: p.protocol}, second)
	if !found {
		s.t.Fatalf("%s is no VIP", p.to)
	}
	var own *dataplane.Connection
	for c := range s.plane.Connections(second) {
		if c.Client == p.from && c.VIP == p.to && c.Protocol == p.protocol && !c.Retired {
			own = &c
		}
	}
	if e = e.Connected(tables, own); p.flags == "S" {
		return e.NewFlow
	}
	return e.Later
}

// sure tells what is explained if it is the same a second before and after: the
// program's clock is a coarse one.
func (s *natStage) sure(p talk) (dataplane.Choice, bool) {
	now := monotonicSecond() + s.skew
	choice := s.explained(p, now)
	return choice, choice == s.explained(p, now-1) && choice == s.explained(p, now+1)
}

// closed opens a connection, as far as it can be, and resets it.
func (s *natStage) closed(p talk) {
	s.t.Helper()
	p.flags = "S"
	if got := s.send(p.frame(s.t)); got.verdict == xdpTX {
		s.send(answer(hear(s.t, got.frame), "SA", "").frame(s.t))
		for _, p.flags = range []string{"A", "R"} {
			s.send(p.frame(s.t))
		}
	}
}

// Random lives of a few clients, while backends come and go: what is explained of
// each packet before it is sent is what becomes of it.
func TestPrivilegedWhatIsExplainedOfAConnectionIsWhatBecomesOfIt(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	all := []dataplane.Backend{natBackend(backend4), natBackend(backend6), natBackend(backend4.Next())}
	s := newNAT(t, natOptions(t, 1024), dataplane.DefaultNATSettings(), all...)
	last := make(map[netip.AddrPort]talk) // what the backend got last of a client
	rules := make(map[string]int)
	for range 3000 {
		p := talk{from: netip.AddrPortFrom(client4, 40000+uint16(random.IntN(12))), to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.TCP, seq: 1001, ack: 5001}
		switch random.IntN(12) {
		case 0:
			s.wait([]uint32{1, 5, 20, 70, 300}[random.IntN(5)])
			continue
		case 1:
			s.serve(all[:random.IntN(len(all)+1)]...)
			continue
		case 2: // so that a SYN finds one that is closed, and another owner
			s.closed(p)
			s.serve(all[:1+random.IntN(len(all))]...)
			p.flags = "S"
		case 3, 4:
			if got, known := last[p.from]; known { // which may have been too long ago
				s.send(answer(got, []string{"SA", "A", "A", "FA", "R"}[random.IntN(5)], "").frame(t))
			}
			continue
		case 5, 6:
			p.protocol = dataplane.UDP
		default:
			p.flags = []string{"S", "S", "A", "A", "FA", "R"}[random.IntN(6)]
		}
		choice, sure := s.sure(p)
		got := s.send(p.frame(t))
		if full := got.moved["DROP_NAT_FULL"] + got.moved["DROP_NAT_PORTS"]; !sure || full > 0 {
			continue
		}
		outcome := "FORWARD"
		switch {
		case choice.Backend != dataplane.NoBackend:
			heard := hear(t, got.frame)
			if last[p.from] = heard; p.protocol == dataplane.UDP {
				delete(last, p.from)
			}
			if want := s.tables.Backends[choice.Backend].ID; heard.to != netip.AddrPortFrom(want.Addr, want.Port) {
				t.Fatalf("%+v went to %s, and was explained to go to %s by %q", p, heard.to, want, choice.Why)
			}
		case choice.Why == dataplane.ByOwner:
			outcome = "DROP_NO_BACKEND"
		default:
			outcome = "DROP_NO_CONNECTION"
		}
		if outcome != "FORWARD" && got.moved[outcome] != 1 {
			t.Fatalf("%+v moved %v, and was explained to be %s by %q", p, got.moved, outcome, choice.Why)
		}
		rules[outcome+" by "+string(choice.Why)]++
	}
	t.Log(rules)
	if len(rules) < 5 {
		t.Errorf("the lives prove little: %v", rules)
	}
}
