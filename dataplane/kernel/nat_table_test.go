package kernel

import (
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// clientOf is one of very many clients.
func clientOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)}), 40000)
}

func knock(from netip.AddrPort) talk {
	return talk{from: from, to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.TCP, flags: "S", seq: 1000}
}

// open makes a whole connection, and returns a client's packet as the backend gets it.
func (s *natStage) open(from netip.AddrPort) talk {
	s.t.Helper()
	got := s.request(knock(from))
	s.reply(answer(got, "SA", ""))
	segment := knock(from)
	segment.flags, segment.seq, segment.ack = "A", 1001, 5001
	return s.request(segment)
}

// fewPorts are settings with few ports.
func fewPorts(ports uint16) dataplane.NATSettings {
	settings := dataplane.DefaultNATSettings()
	settings.FirstPort, settings.Ports = 2048, ports
	return settings
}

func TestPrivilegedNoPortIsGivenTwiceAndNoneIsLeftOver(t *testing.T) {
	s := newNAT(t, natOptions(t, 1024), fewPorts(64), natBackend(backend4))
	ports := make(map[uint16]bool)
	for i := range 64 {
		ports[s.open(clientOf(i)).from.Port()] = true
	}
	if len(ports) != 64 || ports[2047] || ports[2048+64] {
		t.Fatalf("64 connections have %d ports: %v", len(ports), ports)
	}
	s.refuse(knock(clientOf(64)), "DROP_NAT_PORTS")
	s.refuse(knock(clientOf(64)), "DROP_NAT_PORTS")

	// One more source is as many ports more; and so is one more backend port, for
	// what goes there.
	settings := fewPorts(64)
	settings.Sources = []netip.Addr{source4, netip.MustParseAddr("203.0.113.2")}
	s.apply(dataplane.PutNAT{Settings: settings})
	for i := range 64 {
		if from := s.open(clientOf(64 + i)).from.Addr(); from != settings.Sources[1] {
			t.Fatalf("connection %d comes from %s", i, from)
		}
	}
	s.refuse(knock(clientOf(128)), "DROP_NAT_PORTS")
}

// A port comes back once nobody can take what is sent there for an old
// connection's, and not before.
func TestPrivilegedAPortIsFreeOnceItsBackendHasForgottenIt(t *testing.T) {
	for _, row := range []struct {
		life  string
		holds uint32
	}{
		{opened + "b:FA c:FA", 60},
		{opened + "c:FA b:FA", 10},
		{opened + "c:R", 60},
		{"c:S", 8},
	} {
		t.Run(row.life, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), fewPorts(8), natBackend(backend4))
			for i := range 8 {
				s.live(t, uint16(40000+i), row.life)
			}
			s.wait(row.holds - 3)
			s.refuse(knock(clientOf(1)), "DROP_NAT_PORTS")
			s.wait(5)
			for i := range 8 {
				s.open(clientOf(i))
			}
		})
	}
}

func TestPrivilegedAFloodTakesNoEstablishedConnectionsPlace(t *testing.T) {
	const established, flood = 10_000, 200_000
	s := newNAT(t, natOptions(t, 1<<14), dataplane.DefaultNATSettings(), natBackend(backend4))
	ports := make(map[int]uint16)
	for i := range established {
		ports[i] = s.open(clientOf(i)).from.Port()
	}
	frame := knock(clientOf(0)).frame(t)
	for i := range flood {
		client := clientOf(1<<17 + i).Addr().As4()
		copy(frame[14+12:], client[:])
		s.run(frame)
		// In the middle of it one who means it gets through.
		if i%(flood/8) == flood/16 {
			s.open(clientOf(1<<16 + i))
		}
	}
	for i := range established {
		segment := knock(clientOf(i))
		segment.flags = "A"
		if got := s.request(segment); got.from.Port() != ports[i] {
			t.Fatalf("connection %d had port %d, and has %d", i, ports[i], got.from.Port())
		}
	}
	s.wait(10)
	open := 0
	for _, c := range s.connections() {
		if c.HalfOpen {
			t.Fatalf("after ten seconds there is %+v", c)
		}
		open++
	}
	if open != established+8 {
		t.Errorf("after the flood there are %d connections, want %d", open, established+8)
	}
}

func TestPrivilegedATableFullOfEstablishedConnectionsTakesNoMore(t *testing.T) {
	s := newNAT(t, natOptions(t, 64), dataplane.DefaultNATSettings(), natBackend(backend4))
	held, refused := 0, 0
	for i := range 1000 {
		frame := knock(clientOf(i)).frame(t)
		got := s.send(frame)
		if got.moved["DROP_NAT_FULL"] == 1 {
			refused++
			continue
		}
		held++
		s.reply(answer(overhear(got.frame), "SA", ""))
		segment := knock(clientOf(i))
		segment.flags, segment.ack = "A", 5001
		s.request(segment)
	}
	if held < 60 || held > 64 || held+refused != 1000 {
		t.Errorf("a table of 64 holds %d connections and refuses %d", held, refused)
	}
	if left := len(s.connections()); left != held {
		t.Errorf("%d connections are left of %d", left, held)
	}
}

func TestPrivilegedWhatBelongsToNoConnectionIsTheHosts(t *testing.T) {
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend4))
	got := s.open(clientOf(1))
	for says, change := range map[string]func(*talk){
		"another port of the source":  func(p *talk) { p.to = netip.AddrPortFrom(p.to.Addr(), p.to.Port()+1) },
		"another port of the backend": func(p *talk) { p.from = netip.AddrPortFrom(p.from.Addr(), p.from.Port()+1) },
		"another host":                func(p *talk) { p.from = netip.AddrPortFrom(client4, p.from.Port()) },
		"another protocol":            func(p *talk) { p.protocol, p.flags = dataplane.UDP, "" },
	} {
		t.Run(says, func(t *testing.T) {
			p := answer(got, "A", "")
			change(&p)
			sent := p.frame(t)
			expect(t, s.send(sent), xdpPass, sent, "PASS_NOT_VIP")
		})
	}
	s.apply(dataplane.SeeNAT{})
	sent := answer(got, "A", "").frame(t)
	expect(t, s.send(sent), xdpPass, sent, "PASS_NOT_VIP")
}

func TestPrivilegedAClientThatIsABackendGetsItsAnswer(t *testing.T) {
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend4))
	from := netip.AddrPortFrom(backend4, natPort) // even from the port it serves
	sent := knock(from)
	sent.macs = [2]string{string(nextHopMAC), string(balancerMAC)}
	got := s.request(sent)
	if got.to != from || got.from.Addr() != source4 {
		t.Fatalf("it gets %+v", got)
	}
	back := s.reply(answer(got, "SA", ""))
	if back.from != sent.to || back.to != from || back.macs[1] != string(nextHopMAC) {
		t.Fatalf("its answer is %+v", back)
	}
}
