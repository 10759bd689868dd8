package stories

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// way is how clients of one VIP get to servers that nobody has prepared: by nat, or
// past the balancer on the way back, where servers answer for the VIP.
type way struct {
	promise, forward, vip string
	family                int  // of the backends' addresses
	mapped                bool // to the servers' own ports
	sees                  func(*stage) []netip.Addr
}

func theBalancer(s *stage) []netip.Addr { return s.Host.Addrs() }
func theClient(s *stage) []netip.Addr   { return s.Lab.Client.Addrs() }

func waysToServers() []way {
	var all []way
	for i, r := range natRoads {
		all = append(all, way{"nat, " + r.promise, "nat", r.vip(i + 1), r.backend, true, theBalancer})
	}
	return append(all,
		way{"gue, ports mapped", "gue", "192.0.2.5", 6, true, theClient},
		way{"ipip, ports mapped", "ipip", "[2001:db8:10::6]", 4, true, theClient},
		way{"l2", "l2", "192.0.2.7", 4, false, theClient})
}

func (w way) listens(at int) int {
	if at == iperf3 && w.forward != "nat" {
		return iperf3AtVIP
	}
	return realServers[at].listens
}

func (w way) port(at int) int {
	if w.mapped {
		return realServers[at].port
	}
	return w.listens(at)
}

func (w way) address() netip.Addr { return netip.MustParseAddr(strings.Trim(w.vip, "[]")) }

// services are one for each server, so that each may have its own instances.
func (w way) services(number, weight int) (text string) {
	for at, server := range realServers {
		var listen []string
		for protocol := range strings.FieldsSeq(server.protocols) {
			listen = append(listen, fmt.Sprintf("%q", fmt.Sprintf("%s:%d/%s", w.vip, w.port(at), protocol)))
		}
		// iperf3 opens two connections, or one and a flow of UDP, which belong together.
		text += fmt.Sprintf("service \"%s-%d\" {\n  listen = [%s]\n  forward = %q\n  affinity = \"client\"\n  slots = 251\n",
			server.name, number, strings.Join(listen, ", "), w.forward)
		if w.mapped && w.forward != "nat" {
			text += "  port_mapping = true\n"
		}
		for n := range 2 {
			address := fmt.Sprintf("{{v4 %d}}:%d", n+1, w.listens(at))
			if w.family == 6 {
				address = fmt.Sprintf("[{{v6 %d}}]:%d", n+1, w.listens(at))
			}
			text += fmt.Sprintf("  backend %q { weight = %d }\n", address, 1+n*weight)
		}
		text += "}\n"
	}
	return text
}

func TestPrivilegedUntouchedServersServeByEveryModeAndSeeWhoItSays(t *testing.T) {
	s := open(t, lab.Options{Backends: 2})
	ways := waysToServers()
	all := func(weight int) (text string) {
		for i, w := range ways {
			text += w.services(i+1, weight)
		}
		return text
	}
	for _, h := range s.Lab.Backends {
		s.serveUntouched(h)
	}
	s.begin(all(0))
	for _, h := range s.Lab.Backends {
		s.awaitServers(h)
		s.answerPastTheBalancer(h, slices.DeleteFunc(slices.Clone(ways), func(w way) bool { return w.forward == "nat" }))
	}
	long := map[string]traffic.Flows{}
	for _, w := range ways {
		flows, err := traffic.Open(t.Context(), s.Lab.Client, traffic.TCP, netip.MustParseAddrPort(fmt.Sprintf("%s:%d", w.vip, w.port(4))), 3)
		s.must(err)
		t.Cleanup(flows.Close)
		long[w.promise] = flows
	}
	for _, w := range ways {
		t.Run(w.promise, func(t *testing.T) { s.in(t).serves(w) })
	}
	use := func(when string) {
		for way, flows := range long {
			for _, broken := range flows.Use(patience) {
				t.Errorf("%s, by %s: %v", when, way, broken.Broken)
			}
		}
	}
	s.Daemon.Kill()
	use("without a daemon")
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	s.reload(all(9))
	use("after a restart and other weights")
}

// answerPastTheBalancer makes a host a backend of ways that need something of it.
func (s *stage) answerPastTheBalancer(h *lab.Host, ways []way) {
	s.t.Helper()
	config := "interfaces = [\"eth0\"]\nvip_pools = [\"192.0.2.0/24\", \"2001:db8:10::/64\"]\n"
	for i, w := range ways {
		config += w.services(i+1, 0)
	}
	log := &spoken{}
	agent, err := s.Follow(h, s.fill(config), log)
	s.must(err)
	s.t.Cleanup(agent.Kill)
	s.await(h.Name+" maps ports", func() error { return hasSaid(log, "brought up to date") })
	for _, w := range ways {
		s.serveBy(h, "iperf3", "-s", "-p", fmt.Sprint(iperf3AtVIP), "-B", w.address().String())
		s.awaitServer(h, netip.AddrPortFrom(w.address(), iperf3AtVIP))
	}
}

func hasSaid(log *spoken, word string) error {
	if text := log.String(); !strings.Contains(text, word) {
		return fmt.Errorf("it says %q", text)
	}
	return nil
}

// serves asks every server by one way.
func (s *stage) serves(w way) {
	s.t.Helper()
	at := func(server int) netip.AddrPort {
		return netip.MustParseAddrPort(fmt.Sprintf("%s:%d", w.vip, w.port(server)))
	}
	for server := range 2 { // both say whom they see
		answers := traffic.Load{From: s.Lab.Client, Kind: traffic.HTTP, To: at(server), Requests: 10, Timeout: patience}.Run(s.t.Context())
		s.allAnswered(realServers[server].name, answers)
		for said := range answers.Counts() {
			_, client, _ := strings.Cut(said, " ")
			seen, err := netip.ParseAddr(client)
			if err != nil || !slices.Contains(w.sees(s), seen) {
				s.t.Errorf("%s says %q, and should see one of %v", realServers[server].name, said, w.sees(s))
			}
		}
	}
	for _, protocol := range []string{"udp", "tcp"} {
		who, err := s.resolve(protocol, at(2))
		if err != nil || !strings.HasPrefix(who, "backend-") {
			s.t.Errorf("by %s, who.test is %q: %v", protocol, who, err)
		}
	}
	s.measure(at(iperf3), "-n", "4M")
	s.measure(at(iperf3), "-n", "4M", "-R")
	s.measure(at(iperf3), "-u", "-b", "100M", "-l", "1200", "-n", "1M")
}
