package stories

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

var massVIP = netip.MustParseAddrPort(natTCP)

// massed is how many connections are open at a time: another number by the
// environment.
func massed(t *testing.T) int {
	text := os.Getenv("CONNECTIONS")
	if text == "" {
		return 100_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// massPorts are those of a backend's servers.
var massPorts = []uint16{9000, 9001, 9002}

// massive is a service of the servers of its first so many backends.
func massive(top string, backends int, ports ...uint16) string {
	text := top + `
service "mass" {
  listen  = ["192.0.2.1:443/tcp"]
  forward = "nat"
`
	for n := range backends {
		for _, port := range ports {
			text += fmt.Sprintf("  backend \"{{v4 %d}}:%d\" {}\n", n+1, port)
		}
	}
	return text + "}\n"
}

// gatherMass gives the client so many addresses for its connections, and starts the
// servers.
func (s *stage) gatherMass(addresses int, ports ...uint16) *traffic.Mass {
	s.t.Helper()
	s.must(s.Lab.Client.Sysctl("net/ipv4/ip_local_port_range", "1024 65535"))
	addr, addrs := s.Lab.Client.Addr4, []netip.Addr(nil)
	for range addresses {
		addr = addr.Next()
		s.must(s.Lab.Client.AddAddress("eth0", netip.PrefixFrom(addr, 25)))
		addrs = append(addrs, addr)
	}
	for _, h := range s.Lab.Backends {
		for _, port := range ports {
			_, err := traffic.StartEcho(h, port)
			s.must(err)
		}
	}
	m, err := traffic.NewMass(s.Lab.Client, addrs, massVIP)
	s.must(err)
	return m
}

// longestAnswer is for what a batch of connections waits for on a busy machine.
const longestAnswer = 2 * patience

func (s *stage) openMore(m *traffic.Mass, count int) {
	s.t.Helper()
	began := time.Now()
	if refused, why := m.Open(count, longestAnswer); refused != 0 {
		s.t.Fatalf("of %d connections %d were refused, the first so: %v", count, refused, why)
	}
	s.t.Logf("%d were opened in %.1f s", count, time.Since(began).Seconds())
}

// allGoOn fails the test if a connection broke.
func (s *stage) allGoOn(when string, m *traffic.Mass) {
	s.t.Helper()
	began := time.Now()
	if broken, why := m.Use(longestAnswer); broken != 0 {
		s.t.Errorf("%s, %d connections broke, the first so: %v", when, broken, why)
	}
	s.t.Logf("%s, all were used in %.1f s", when, time.Since(began).Seconds())
}

func TestPrivilegedAHundredThousandConnectionsByNATAreAllKept(t *testing.T) {
	s := open(t, lab.Options{Backends: 4})
	m, count := s.gatherMass(8, massPorts...), massed(t)
	room := func(connections int) string { return fmt.Sprintf("limits { connections = %d }\n", connections) }
	s.begin(massive(room(count*3/2), 3, massPorts...))
	s.openMore(m, count)

	s.Daemon.Kill()
	s.configure(massive(room(count*6), 4, massPorts...))
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	if !strings.Contains(s.Log(), `"the new program has taken over","lost":"nothing"`) {
		t.Error("their table was not taken over, or something was lost")
	}
	_, err = s.Run(t.Context(), "drain", "mass", s.backend(2).Addr4.String()+":9000", "--socket", s.Socket())
	s.must(err)
	s.allGoOn("after a crash, a larger table, one backend more and one that drains", m)
	status, err := s.Status(t.Context())
	s.must(err)
	if status.Outcomes["DROP_NO_CONNECTION"]+status.Outcomes["DROP_NAT_FULL"]+status.Outcomes["DROP_NAT_PORTS"] > 0 {
		t.Errorf("packets were dropped: %v", status.Outcomes)
	}
}

// exhaust opens connections until so many packets have found no port. Who gets no answer
// is given up soon: on a slow machine that are more of them, and another round.
func (s *stage) exhaust(m *traffic.Mass, packets uint64) {
	s.t.Helper()
	s.must(s.Await(s.t.Context(), longestAnswer, fmt.Sprintf("%d packets find no port", packets), func() error {
		_, _ = m.Open(500, time.Second)
		status, err := s.Status(s.t.Context())
		if n := status.Outcomes["DROP_NAT_PORTS"]; err == nil && n < packets {
			err = fmt.Errorf("%d did", n)
		}
		return err
	}))
}

func TestPrivilegedTheEndOfAllPortsLosesNoConnectionByNAT(t *testing.T) {
	const opened, ports = 10_000, 12_288
	s := open(t, lab.Options{Backends: 1})
	m := s.gatherMass(2, massPorts[0])
	// What was reset is out of the way soon.
	s.begin(massive(fmt.Sprintf(`
nat_ports = "1024-%d"
nat_timeouts { time_wait = "1s" }
limits { connections = 32768 }
`, 1024+ports-1), 1, massPorts[0]))
	s.openMore(m, opened)

	s.exhaust(m, 400)
	s.allGoOn("with all ports in use", m)

	s.must(m.Reset(ports / 3))
	s.await("those that were reset are over", func() error {
		flows, err := s.Flows(t.Context(), "--state", "reset-client")
		if err == nil && len(flows.Flows) > 0 {
			err = fmt.Errorf("there are %d of them", len(flows.Flows))
		}
		return err
	})
	s.openMore(m, 1000)
	s.allGoOn("when there are ports again", m)
}

func TestPrivilegedAFloodOfAllPortsLosesNoConnectionByNAT(t *testing.T) {
	const opened, ports = 10_000, 12_288
	s := open(t, lab.Options{Backends: 1})
	m := s.gatherMass(2, massPorts[0])
	s.begin(massive(fmt.Sprintf(`
nat_ports = "1024-%d"
limits { connections = 32768 }
`, 1024+ports-1), 1, massPorts[0]))
	s.openMore(m, opened)
	s.must(s.Lab.Router.AddRoute(traffic.FloodNet, s.Lab.Client.Addr4))
	_, err := traffic.Flood{From: s.Lab.Client, To: massVIP, Packets: 8 * ports}.Run(t.Context())
	s.must(err)
	s.allGoOn("after a flood that had all ports", m)
	// The backend answers the first SYN from a port that the flood had by what it knows of
	// that; the client resets it, and its next SYN, a second later, is taken.
	s.openMore(m, 100)
	s.allGoOn("with some more", m)
}
