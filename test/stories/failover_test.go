package stories

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// failover has a backend on the first segment, one on the second, to which the router
// leads as well, and one behind a gateway, to which it does, too.
const failover = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
  backend "{{v4 3}}" {}
}`

// failures are changes of the network that come and go: each is made and undone a few
// times, and makes packets to a backend leave by the way given.
var failures = []struct {
	promise string
	backend int
	make    func(*stage) (way string)
	back    string
	undo    func(*stage) (way string)
}{
	{"a backend that gets another MAC", 1,
		func(s *stage) string { return s.announceMAC(net.HardwareAddr{2, 0, 0, 0, 0, 0x77}) },
		"and another", func(s *stage) string { return s.announceMAC(net.HardwareAddr{2, 0, 0, 0, 0, 0x78}) }},
	{"a route that goes to another gateway", 3,
		func(s *stage) string { return s.leadBy(s.Lab.Router.Addrs()[2]) },
		"and back", func(s *stage) string { return s.leadBy(s.Lab.Gateway.Addr4) }},
	{"a link that goes down where a second route leads", 2,
		func(s *stage) string { return s.turn("eth1", (*netlink.Handle).LinkSetDown, "eth0 ") },
		"and up", func(s *stage) string { return s.turn("eth1", (*netlink.Handle).LinkSetUp, "eth1 ") }},
}

func TestPrivilegedChangesOfRoutesAndNeighboursMovePacketsByTheKernelsEvents(t *testing.T) {
	s := open(t, roads, 1)
	s.must(s.backend(1).Sysctl("net/ipv4/conf/eth0/arp_notify", "1"))
	s.begin(failover)
	asking := s.keepAsking(webVIPs...)
	events := s.noteEvents()
	type change struct {
		promise string
		backend int
		began   time.Time
		way     string
	}
	var changes []change
	file := s.capture(func() {
		for _, f := range failures {
			note := func(promise string, act func(*stage) string) {
				began := time.Now()
				changes = append(changes, change{promise, f.backend, began, act(s)})
			}
			for range 5 {
				note(f.promise, f.make)
				note(f.promise+", "+f.back, f.undo)
			}
		}
	}, "--snaplen", "80")
	sent := s.sentTo(file)
	gaps := map[string][]time.Duration{}
	for _, c := range changes {
		addr := s.backend(c.backend).Addr4
		i := slices.IndexFunc(sent, func(p sentPacket) bool { return p.to == addr && p.at.After(c.began) && p.way == c.way })
		if i < 0 {
			t.Errorf("%s: no packet to %s has left by %s", c.promise, addr, c.way)
			continue
		}
		gap := events.nearest(sent[i].at)
		t.Logf("%s: after %v, %v from an event, the first packet left by %s", c.promise, sent[i].at.Sub(c.began), gap, c.way)
		gaps[c.promise] = append(gaps[c.promise], gap)
	}
	for promise, all := range gaps {
		// The least of the program's pauses is a second: were it that, gaps would be
		// spread over all of it. After a link has changed, routes are asked for again
		// a tenth of a second later, since the kernel tells of links first.
		slices.Sort(all)
		if middle := all[len(all)/2]; middle > 250*time.Millisecond {
			t.Errorf("%s is followed %v from any event: %v", promise, middle, all)
		}
	}
	s.nothingLost(asking.finish())
}

func (s *stage) announceMAC(mac net.HardwareAddr) (way string) {
	s.t.Helper()
	s.setMAC(s.backend(1), mac)
	s.awaitNextHop("backend-1", "eth0 "+mac.String())
	return "eth0 " + mac.String()
}

// leadBy has the balancer reach backend-3 by another gateway.
func (s *stage) leadBy(gateway netip.Addr) (way string) {
	s.t.Helper()
	before := s.nextHop("backend-3")
	s.must(s.Lab.Balancer.AddRoute(host(s.backend(3).Addr4), gateway))
	s.await("the way to backend-3 is another", func() error {
		if s.nextHop("backend-3") == before {
			return fmt.Errorf("it is %s still", before)
		}
		return nil
	})
	return s.nextHop("backend-3")
}

func (s *stage) turn(iface string, to func(*netlink.Handle, netlink.Link) error, way string) string {
	s.t.Helper()
	link, err := s.Lab.Balancer.Links().LinkByName(iface)
	s.must(err)
	s.must(to(s.Lab.Balancer.Links(), link))
	s.awaitNextHop("backend-2", way)
	return s.nextHop("backend-2")
}

// nextHop is a backend's as status says it: interface and MAC.
func (s *stage) nextHop(name string) string {
	s.t.Helper()
	now, err := s.service("web")
	s.must(err)
	for _, b := range now.Backends {
		if s.name(b.Address) == name {
			return b.NextHop
		}
	}
	return ""
}

// moments are those at which the balancer's kernel told of something.
type moments struct {
	mu  sync.Mutex
	all []time.Time
}

func (m *moments) note() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, time.Now())
}

// nearest is how far the nearest is from a time.
func (m *moments) nearest(to time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	gap := time.Hour
	for _, at := range m.all {
		gap = min(gap, to.Sub(at).Abs())
	}
	return gap
}

// noteEvents notes when the balancer's kernel tells of links, routes and neighbours.
func (s *stage) noteEvents() *moments {
	s.t.Helper()
	m, done := &moments{}, s.t.Context().Done()
	links, routes, neighbours := make(chan netlink.LinkUpdate, 100), make(chan netlink.RouteUpdate, 100), make(chan netlink.NeighUpdate, 100)
	s.must(s.Lab.Balancer.Do(func() error {
		return cmp.Or(netlink.LinkSubscribe(links, done), netlink.RouteSubscribe(routes, done), netlink.NeighSubscribe(neighbours, done))
	}))
	go func() { // each ends with the test's context
		for range links {
			m.note()
		}
	}()
	go func() {
		for range routes {
			m.note()
		}
	}()
	go func() {
		for range neighbours {
			m.note()
		}
	}()
	return m
}

// sentPacket is one that the balancer sent in a tunnel to a backend.
type sentPacket struct {
	at  time.Time
	way string // as a next hop is written: interface and MAC
	to  netip.Addr
}

// sentTo reads a capture.
func (s *stage) sentTo(file string) (all []sentPacket) {
	s.t.Helper()
	for _, line := range s.tool("tshark", "-r", file, "-T", "fields", "-E", "occurrence=f", "-Y", "ip.proto == 4 || ip.proto == 41",
		"-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "eth.dst", "-e", "ip.dst") {
		fields := strings.Split(line, "\t")
		iface, out := "", false
		if len(fields) == 4 {
			iface, out = strings.CutSuffix(fields[1], " out")
		}
		if !out {
			continue
		}
		seconds, nanoseconds, _ := strings.Cut(fields[0], ".")
		whole, err := strconv.ParseInt(seconds, 10, 64)
		s.must(err)
		rest, err := strconv.ParseInt(nanoseconds, 10, 64)
		s.must(err)
		to, err := netip.ParseAddr(fields[3])
		s.must(err)
		all = append(all, sentPacket{time.Unix(whole, rest), iface + " " + fields[2], to})
	}
	slices.SortFunc(all, func(a, b sentPacket) int { return a.at.Compare(b.at) })
	return all
}
