package stories

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// natRoad is a way between families, with a service of its own whose backends are
// plain hosts: they have no VIP, no program and other ports.
type natRoad struct {
	promise          string
	clients, backend int // families
}

var natRoads = []natRoad{{"IPv4 to IPv4", 4, 4}, {"IPv6 to IPv6", 6, 6}, {"IPv4 to IPv6", 4, 6}, {"IPv6 to IPv4", 6, 4}}

func (r natRoad) vip(n int) string {
	if r.clients == 4 {
		return lab.VIP4(byte(n)).String()
	}
	return "[" + lab.VIP6(byte(n)).String() + "]"
}

// natServices has two backends on each road: one on the segment that packets come
// from, two servers of it, and one on another interface.
func natServices() string {
	var text strings.Builder
	for i, r := range natRoads {
		at := func(n, port int) string {
			if r.backend == 4 {
				return fmt.Sprintf("{{v4 %d}}:%d", n, port)
			}
			return fmt.Sprintf("[{{v6 %d}}]:%d", n, port)
		}
		fmt.Fprintf(&text, `
service "tcp-%[1]d" {
  listen  = ["%[2]s:443/tcp"]
  forward = "nat"
  slots   = 251
  backend "%[3]s" {}
  backend "%[4]s" {}
  backend "%[5]s" {}
}
service "udp-%[1]d" {
  listen  = ["%[2]s:443/udp"]
  forward = "nat"
  slots   = 251
  backend "%[6]s" {}
  backend "%[7]s" {}
}`, i+1, r.vip(i+1), at(1, 7000), at(1, 7001), at(2, 7000), at(1, 53), at(2, 53))
	}
	return text.String()
}

func TestPrivilegedUntouchedBackendsOnAnyPortServeByNAT(t *testing.T) {
	s := open(t, lab.Options{Backends: 1, SecondSegment: 1, Ports: lab.Ports{TCP: []uint16{7000, 7001}, UDP: []uint16{53}}})
	s.interfaces = `["eth0", "eth1"]`
	s.begin(natServices())
	for i, r := range natRoads {
		t.Run(r.promise, func(t *testing.T) {
			s, vip := s.in(t), r.vip(i+1)
			for _, kind := range []string{"tcp", "udp"} {
				answers := s.ask(kind+" "+vip+":443", 30)
				s.allAnswered(vip, answers)
				for _, name := range []string{"backend-1", "backend-2"} {
					if answers.Counts()[name] == 0 {
						t.Errorf("%s %s: %s answered none of %d requests: %v", kind, vip, name, len(answers), answers.Counts())
					}
				}
			}
			for range 5 {
				s.fullSegments(vip+":443", "")
			}
			s.isListed(vip)
		})
	}
	t.Run("a backend that is a client, too", func(t *testing.T) {
		s := s.in(t)
		flows, err := traffic.Open(t.Context(), s.backend(1), traffic.TCP, netip.MustParseAddrPort(natRoads[0].vip(1)+":443"), 12)
		s.must(err)
		defer flows.Close()
		if broken := flows.Use(patience); len(broken) > 0 || flows.Counts()["backend-1"] == 0 {
			t.Errorf("%d of its flows broke; they go to %v", len(broken), flows.Counts())
		}
	})
}

// isListed holds the list of connections against one that is open, and what is
// explained of it.
func (s *stage) isListed(vip string) {
	s.t.Helper()
	flows, err := traffic.Open(s.t.Context(), s.Lab.Client, traffic.TCP, netip.MustParseAddrPort(vip+":443"), 1)
	s.must(err)
	defer flows.Close()
	list, err := s.Flows(s.t.Context(), "--vip", vip+":443/tcp", "--state", "established")
	s.must(err)
	found := false
	for _, f := range list.Flows {
		if f.Client == flows[0].Client.String() && s.name(f.Backend) == flows[0].Backend {
			found = true
		}
	}
	if !found {
		s.t.Errorf("the connection of %s is not among %+v", flows[0].Client, list)
	}
	e, err := s.Explain(s.t.Context(), "tcp", flows[0].Client.String(), vip+":443")
	s.must(err)
	if last := e.Packets[len(e.Packets)-1]; last.Rule != "connection" || s.name(last.Backend.Address) != flows[0].Backend {
		s.t.Errorf("%s is served by %s, and explained is %+v", flows[0].Client, flows[0].Backend, last)
	}
}
