package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
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

// A flood that has all ports would have them for eight seconds at a time.
func TestPrivilegedAFloodThatHasAllPortsKeepsNobodyFromConnecting(t *testing.T) {
	s := newNAT(t, natOptions(t, 1<<14), fewPorts(256), natBackend(backend4))
	kept := make(map[int]uint16)
	for i := range 64 {
		kept[i] = s.open(clientOf(i)).from.Port()
	}
	for i := range 2000 {
		s.run(knock(clientOf(1<<17 + i)).frame(t))
		if i%100 == 99 {
			s.open(clientOf(1<<16 + i))
		}
	}
	ports := make(map[uint16]bool)
	for _, c := range s.connections() {
		if ports[c.Source.Port()] {
			t.Errorf("port %d has two connections", c.Source.Port())
		}
		ports[c.Source.Port()] = true
	}
	for i, port := range kept {
		segment := knock(clientOf(i))
		segment.flags = "A"
		if got := s.request(segment); got.from.Port() != port {
			t.Errorf("connection %d had port %d, and has %d", i, port, got.from.Port())
		}
	}
}

// Ways from line to line meet, and what is on them fills sooner than the rest.
func TestPrivilegedEverybodyFindsAPortWhileOneOfTenIsFree(t *testing.T) {
	const ports = 12_288
	s := newNAT(t, natOptions(t, 1<<15), fewPorts(ports), natBackend(backend4))
	for i := range ports * 9 / 10 {
		s.open(clientOf(i))
	}
}

// Of the lines that a connection looks at, most have none but established ones.
func TestPrivilegedAHalfOpenPortIsFoundWhereverItIs(t *testing.T) {
	s := newNAT(t, natOptions(t, 1<<14), fewPorts(64), natBackend(backend4))
	for i := range 63 {
		s.open(clientOf(i))
	}
	for i := range 50 {
		s.request(knock(clientOf(1<<17 + i))) // has the last one, whoever had it before
		if half := s.halfOpen(); half != 1 {
			t.Fatalf("after %d SYNs %d connections are half open", i+1, half)
		}
	}
	s.open(clientOf(100))
	s.refuse(knock(clientOf(101)), "DROP_NAT_PORTS")
}

// Whoever has just sent a SYN has longest for its handshake: of all ports that a
// connection meets, it takes that of the one that is silent for longest.
func TestPrivilegedTheOldestOfHalfOpenPortsIsTaken(t *testing.T) {
	const ports, generations = 64, 4
	s := newNAT(t, natOptions(t, 1<<14), fewPorts(ports), natBackend(backend4))
	age := make(map[uint16]int) // of each port's connection: a generation a second
	for i := range ports {
		if i > 0 && i%(ports/generations) == 0 {
			s.wait(1)
		}
		age[s.request(knock(clientOf(i))).from.Port()] = i / (ports / generations)
	}
	if len(age) != ports {
		t.Fatalf("%d connections have %d ports", ports, len(age))
	}
	for i := range ports {
		if i%(ports/generations) == 0 {
			s.wait(1)
		}
		port, due := s.request(knock(clientOf(1<<17+i))).from.Port(), i/(ports/generations)
		if age[port] != due {
			t.Fatalf("SYN %d takes port %d of generation %d, and %d is the oldest", i, port, age[port], due)
		}
		age[port] = generations + due
	}
}

func (s *natStage) halfOpen() (count int) {
	for _, c := range s.connections() {
		if c.HalfOpen {
			count++
		}
	}
	return count
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

// Two CPUs open connections of the same clients, and of their own, in a race.
func TestPrivilegedCPUsThatRaceShareNoPortAndNoConnection(t *testing.T) {
	const clients = 6000
	settings := fewPorts(8192)
	settings.Timeouts.SYN = 600 // none is over before it is counted, however slow the machine
	s := newNAT(t, natOptions(t, 1<<14), settings, natBackend(backend4))
	var racers sync.WaitGroup
	for cpu := range 2 {
		racers.Go(func() {
			frame := knock(clientOf(0)).frame(t)
			for i := range clients {
				client := clientOf(i)
				if i%2 == 1 {
					client = clientOf(1<<16*cpu + i)
				}
				addr := client.Addr().As4()
				copy(frame[14+12:], addr[:])
				s.run(frame)
			}
		})
	}
	racers.Wait()
	ports, owners := make(map[uint16]bool), make(map[netip.AddrPort]bool)
	for c := range s.plane.Connections(monotonicSecond()) {
		if ports[c.Source.Port()] {
			t.Errorf("port %d has two connections", c.Source.Port())
		}
		if owners[c.Client] {
			t.Errorf("%s has two connections", c.Client)
		}
		ports[c.Source.Port()], owners[c.Client] = true, true
	}
	if len(ports) < clients { // 9,000, less those that were dropped in the race
		t.Errorf("there are %d connections of %d", len(ports), clients*3/2)
	}
}

func TestPrivilegedAPacketThatMayGoNoFurtherIsDropped(t *testing.T) {
	for _, mix := range natMixes {
		t.Run(mix.name, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
			sent := talk{
				from: netip.AddrPortFrom(mix.client, 40000), to: netip.AddrPortFrom(mix.vip, 80), protocol: dataplane.UDP, hops: 2, payload: "x",
			}
			got := s.request(sent)
			sent.hops = 1
			s.refuse(sent, "DROP_TTL")
			back := answer(got, "", "y")
			back.hops = 1
			s.refuse(back, "DROP_TTL")
		})
	}
}

// A socket leaves the sum to hardware that a virtual device has not got; UDP over
// IPv4 may have none, which IPv6 does not allow.
func TestPrivilegedAChecksumThatIsNotThereIsSummedUp(t *testing.T) {
	for _, mix := range natMixes {
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			t.Run(mix.name+" "+protocol.String(), func(t *testing.T) {
				s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
				for size := range 132 {
					sent := talk{
						from: netip.AddrPortFrom(mix.client, uint16(40000+size)), to: netip.AddrPortFrom(mix.vip, 80), protocol: protocol,
						flags: "S", payload: strings.Repeat("odd", size),
					}
					if protocol == dataplane.UDP {
						sent.flags = ""
					}
					got := s.send(pending(sent.frame(t)))
					if heard := hear(t, got.frame); heard.payload != sent.payload {
						t.Fatalf("%d bytes come as %q", 3*size, heard.payload)
					}
					if protocol == dataplane.UDP && mix.client.Is4() {
						sent.noSum = true
						if heard := hear(t, s.send(sent.frame(t)).frame); heard.noSum != mix.backend.Is4() {
							t.Fatalf("without a sum of its own it comes as %+v", heard)
						}
					}
				}
			})
		}
	}
}

// pending is a frame whose transport checksum is as Linux leaves it to hardware:
// the sum of the pseudo header.
func pending(frame []byte) []byte {
	ip, at, protocol := frame[14:], 20, frame[14+9]
	pseudo := bytes.Clone(ip[12:20])
	end := int(binary.BigEndian.Uint16(ip[2:]))
	if frame[12] != 8 {
		at, protocol, pseudo = 40, ip[6], bytes.Clone(ip[8:40])
		end = 40 + int(binary.BigEndian.Uint16(ip[4:]))
	}
	pseudo = append(pseudo, 0, protocol, byte((end-at)>>8), byte(end-at))
	if protocol == byte(dataplane.TCP) {
		at += 10
	}
	binary.BigEndian.PutUint16(ip[at+6:], sum16(pseudo))
	return frame
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
