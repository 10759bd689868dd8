package stories

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

func TestPrivilegedABackendWithoutANeighbourGetsNoSlotsUntilItAnswers(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1)
	s.must(s.backend(2).Unplug())
	s.must(s.backend(3).Unplug())
	s.configure(`
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
  backend "{{v6 3}}" {}
}`)
	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up", "backend-2 unresolved neighbour", "backend-3 unresolved neighbour")
	s.awaitWarning("service web is degraded: 2 of 3 backends not up")
	if slots := s.slots("web"); slots["backend-1"] != 65537 || slots["backend-2"]+slots["backend-3"] != 0 {
		t.Errorf("the slots are %v, and all should be backend-1's", slots)
	}
	for _, vip := range webVIPs {
		s.spread(vip, weights{"backend-1": 1})
	}

	asking := s.keepAsking(webVIPs...)
	s.must(s.backend(2).Plug())
	s.must(s.backend(3).Plug())
	s.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-3 up")
	for _, vip := range webVIPs {
		s.spread(vip, weights{"backend-1": 1, "backend-2": 1, "backend-3": 1})
	}
	s.nothingLost(asking.finish())
}

func TestPrivilegedABackendWhoseNeighbourIsLostIsTakenOutEvenWithoutProbes(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1)
	// Left alone, the kernel believes in a neighbour for most of a minute.
	for key, value := range map[string]string{"base_reachable_time_ms": "1000", "interval_probe_time_ms": "1000", "delay_first_probe_time": "1"} {
		s.must(s.Lab.Balancer.Sysctl("net/ipv6/neigh/eth0/"+key, value))
	}
	s.begin(`
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v6 2}}" {}
}`)
	asking, unplugged := s.keepAsking(webVIPs...), time.Now()
	s.must(s.backend(2).Unplug())
	s.awaitBackends("web", "backend-1 up", "backend-2 unresolved neighbour")
	s.spread("http 192.0.2.1:80", weights{"backend-1": 1})
	s.lostOnlyIn(asking.finish(), s.until(unplugged, "backend-2"))
}

func TestPrivilegedL2SaysThatItDoesNotReachBehindAGateway(t *testing.T) {
	s := open(t, roads, 1)
	s.configure(`
service "web" {
  listen  = ["192.0.2.1:80/tcp"]
  forward = "l2"
  backend "{{v4 1}}" {}
  backend "{{v4 3}}" {}
}`)
	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up", "backend-3 unresolved is behind gateway "+s.Lab.Gateway.Addr4.String())
	s.spread("http 192.0.2.1:80", weights{"backend-1": 1})
}

func TestPrivilegedABackendWhoseRouteIsMovedToAGatewayIsFollowed(t *testing.T) {
	s := open(t, roads, 1)
	s.begin(`
service "web" {
  listen = ["192.0.2.1:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v4 3}}" {}
}`)
	asking := s.keepAsking("http 192.0.2.1:80")
	before, err := s.service("web")
	s.must(err)
	// By the router, which knows the gateway, instead of by the gateway itself.
	onBalancersSegment := s.Lab.Router.Addrs()[2] // after both of the client's side
	s.must(s.Lab.Balancer.AddRoute(host(s.backend(3).Addr4), onBalancersSegment))
	s.await("the next hop is another", func() error {
		now, err := s.service("web")
		if err == nil && now.Backends[1].NextHop == before.Backends[1].NextHop {
			err = errors.New("it is still " + now.Backends[1].NextHop)
		}
		return err
	})
	s.spread("http 192.0.2.1:80", weights{"backend-1": 1, "backend-3": 1})
	s.nothingLost(asking.finish())
}

func host(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }
