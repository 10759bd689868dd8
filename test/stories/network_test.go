package stories

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/test/lab"
)

// aside has two backends on the first segment, and a third behind the balancer's
// second interface, out of which packets only go.
const aside = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
  backend "{{v4 3}}" {}
}`

func TestPrivilegedChangesOfTheNetworkAreFollowedWithPacketsInFlight(t *testing.T) {
	s := open(t, lab.Options{Backends: 2, SecondSegment: 1}, 1)
	s.begin(aside)
	asking := s.keepAsking(webVIPs...)
	var losses []window

	t.Run("a backend that gets another MAC keeps its flows, from the event that tells of it", func(t *testing.T) {
		s := s.in(t)
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x77}
		heard := s.hearsOf(mac)
		s.must(s.backend(1).Sysctl("net/ipv4/conf/eth0/arp_notify", "1")) // as servers that take an address over do
		s.setMAC(s.backend(1), mac)
		at := <-heard
		s.awaitNextHop("backend-1", "eth0 "+mac.String())
		took := applied(s.status()).Sub(at)
		t.Logf("the tables had it %v after the balancer heard of it", took)
		if took > time.Second {
			t.Errorf("that is no answer to an event")
		}
		asking.join()
		s.spread(webVIPs[0], everyoneAlike)
	})
	t.Run("an interface that gets another name goes on sending", func(t *testing.T) {
		s := s.in(t)
		link, err := s.Lab.Balancer.Links().LinkByName("eth1")
		s.must(err)
		s.must(s.Lab.Balancer.Links().LinkSetName(link, "aside"))
		s.awaitNextHop("backend-3", "aside ")
		asking.join()
		s.must(s.Lab.Balancer.Links().LinkSetName(link, "eth1"))
		s.awaitNextHop("backend-3", "eth1 ")
		s.spread(webVIPs[0], everyoneAlike)
	})
	t.Run("an interface that goes down and up: the router leads there meanwhile", func(t *testing.T) {
		s := s.in(t)
		link, err := s.Lab.Balancer.Links().LinkByName("eth1")
		s.must(err)
		s.must(s.Lab.Balancer.Links().LinkSetDown(link))
		s.awaitNextHop("backend-3", "eth0 ")
		asking.join()
		s.spread(webVIPs[0], everyoneAlike)
		s.must(s.Lab.Balancer.Links().LinkSetUp(link))
		s.awaitNextHop("backend-3", "eth1 ")
		asking.join()
		s.spread(webVIPs[0], everyoneAlike)
	})
	t.Run("an interface that goes down where nothing else leads there takes its backends out, and brings them back", func(t *testing.T) {
		s := s.in(t)
		link, err := s.Lab.Balancer.Links().LinkByName("eth1")
		s.must(err)
		s.must(s.Lab.Balancer.Ignore(netip.PrefixFrom(s.backend(3).Addr4, 24).Masked()))
		down := time.Now()
		s.must(s.Lab.Balancer.Links().LinkSetDown(link))
		s.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-3 unresolved")
		losses = append(losses, s.until(down, "backend-3"))
		s.spread(webVIPs[0], weights{"backend-1": 1, "backend-2": 1})
		s.must(s.Lab.Balancer.Links().LinkSetUp(link))
		s.awaitBackends("web", allUp...)
		s.spread(webVIPs[0], everyoneAlike)
	})
	t.Run("an interface that is replaced by another of its name is sent from again", func(t *testing.T) {
		s := s.in(t)
		before, gone := s.nextHopIndex("eth1"), time.Now()
		s.must(s.Lab.Balancer.Replace("eth1"))
		s.await("backend-3 is reached by another eth1", func() error {
			if s.nextHopIndex("eth1") == before {
				return fmt.Errorf("it is number %d still", before)
			}
			return s.compare("web", allUp)
		})
		losses = append(losses, s.until(gone, "backend-3"))
		s.spread(webVIPs[0], everyoneAlike)
	})
	s.lostOnlyIn(asking.finish(), losses...)
}

func (s *stage) setMAC(h *lab.Host, mac net.HardwareAddr) {
	s.t.Helper()
	link, err := h.Links().LinkByName("eth0")
	s.must(err)
	s.must(h.Links().LinkSetHardwareAddr(link, mac))
}

// hearsOf gives the time at which the balancer's kernel tells of a neighbour with
// a MAC.
func (s *stage) hearsOf(mac net.HardwareAddr) <-chan time.Time {
	s.t.Helper()
	updates, at := make(chan netlink.NeighUpdate, 100), make(chan time.Time, 1)
	s.must(s.Lab.Balancer.Do(func() error { return netlink.NeighSubscribe(updates, s.t.Context().Done()) }))
	go func() { // ends with the test's context
		for u := range updates {
			if bytes.Equal(u.HardwareAddr, mac) {
				select {
				case at <- time.Now():
				default:
				}
			}
		}
	}()
	return at
}

// awaitNextHop waits until a backend of web is reached like this.
func (s *stage) awaitNextHop(name, want string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s is reached by %s", name, want), func() error {
		now, err := s.service("web")
		if err != nil {
			return err
		}
		for _, b := range now.Backends {
			if s.name(b.Address) == name && strings.HasPrefix(b.NextHop, want) {
				return nil
			}
			err = fmt.Errorf("%v; %s by %s", err, s.name(b.Address), b.NextHop)
		}
		return err
	})
}

func (s *stage) nextHopIndex(name string) int {
	s.t.Helper()
	link, err := s.Lab.Balancer.Links().LinkByName(name)
	s.must(err)
	return link.Attrs().Index
}

func TestPrivilegedABackendBehindABridgeGetsNoSlotsAndTheReasonSaysWhatToDo(t *testing.T) {
	s := open(t, lab.Options{Backends: 2, SecondSegment: 1}, 1)
	undo := s.bridge("eth1")
	s.configure(aside)
	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up", "backend-2 up",
		"backend-3 unresolved XDP cannot send from interface br0, a bridge: give the port that leads to the backends the addresses and the route")
	for _, vip := range webVIPs {
		s.spread(vip, weights{"backend-1": 1, "backend-2": 1})
	}
	t.Run("until the port has the address itself", func(t *testing.T) {
		s := s.in(t)
		asking := s.keepAsking(webVIPs...)
		undo()
		s.awaitBackends("web", allUp...)
		s.spread(webVIPs[0], everyoneAlike)
		s.nothingLost(asking.finish())
	})
}

func TestPrivilegedInGenericModePacketsLeaveByABridgeToo(t *testing.T) {
	s := open(t, lab.Options{Backends: 2, SecondSegment: 1}, 1)
	s.bridge("eth1")
	s.must(s.Lab.Balancer.RefuseXDP("eth0"))
	s.begin(aside)
	if in := s.status().Interfaces[0]; in.Mode != "generic" {
		t.Fatalf("the program is attached like this: %+v", in)
	}
	for _, vip := range webVIPs {
		s.spread(vip, everyoneAlike)
	}
}

// bridge puts an interface of the balancer into a bridge, which gets its address.
func (s *stage) bridge(iface string) (undo func()) {
	s.t.Helper()
	links := s.Lab.Balancer.Links()
	s.must(links.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", TxQLen: -1}}))
	bridge, err := links.LinkByName("br0")
	s.must(err)
	port, err := links.LinkByName(iface)
	s.must(err)
	addresses, err := links.AddrList(port, netlink.FAMILY_V4)
	s.must(err)
	address := &netlink.Addr{IPNet: addresses[0].IPNet}
	s.must(links.AddrDel(port, &addresses[0]))
	s.must(links.LinkSetMaster(port, bridge))
	s.must(links.LinkSetUp(bridge))
	s.must(links.AddrAdd(bridge, address))
	return func() {
		s.must(links.LinkDel(bridge))
		s.must(links.AddrAdd(port, address))
	}
}
