package nexthop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// twoSegments is a balancer with eth0 and eth1, and a router or backend at
// the other end of each.
func twoSegments(t *testing.T) (balancer, peer0, peer1 *station) {
	t.Helper()
	all := stations(t, 3)
	balancer, peer0, peer1 = all[0], all[1], all[2]
	connect(balancer, "eth0", []string{"10.1.0.2/24", "2001:db8:1::2/64", "fe80::1:2/64"},
		peer0, "up0", []string{"10.1.0.1/24", "10.1.0.11/24", "2001:db8:1::1/64", "fe80::1:1/64"})
	connect(balancer, "eth1", []string{"10.2.0.2/24", "2001:db8:2::2/64", "fe80::2:2/64"},
		peer1, "up1", []string{"10.2.0.1/24", "2001:db8:2::1/64", "fe80::2:1/64"})
	return balancer, peer0, peer1
}

func TestPrivilegedWaysAreFoundInARealNetwork(t *testing.T) {
	balancer, peer0, peer1 := twoSegments(t)
	balancer.route("10.20.0.0/24", "10.1.0.1", 0)
	balancer.route("10.30.0.0/24", "10.2.0.1", 1400)
	balancer.route("2001:db8:20::/64", "2001:db8:1::1", 0)
	balancer.must(balancer.RouteAdd(&netlink.Route{
		Dst:       &net.IPNet{IP: net.ParseIP("2001:db8:30::"), Mask: net.CIDRMask(64, 128)},
		Gw:        net.ParseIP("fe80::2:1"),
		LinkIndex: balancer.link("eth1").Attrs().Index,
	}))
	way := func(name string, peer *station, peerName, source, gateway string, mtu int) Resolution {
		r := Resolution{
			Interface: name, Index: uint32(balancer.link(name).Attrs().Index), EgressMAC: balancer.mac(name),
			NextHopMAC: peer.mac(peerName), Source: netip.MustParseAddr(source), MTU: mtu,
		}
		if gateway != "" {
			r.Gateway = netip.MustParseAddr(gateway)
		}
		return r
	}
	for _, row := range []struct {
		promise, addr string
		want          Resolution
	}{
		{"IPv4 on the same segment", "10.1.0.11", way("eth0", peer0, "up0", "10.1.0.2", "", 1500)},
		{"IPv4 behind a router", "10.20.0.11", way("eth0", peer0, "up0", "10.1.0.2", "10.1.0.1", 1500)},
		{"IPv4 behind a router on the other interface, by a route with an MTU", "10.30.0.11", way("eth1", peer1, "up1", "10.2.0.2", "10.2.0.1", 1400)},
		{"IPv6 on the same segment", "2001:db8:1::1", way("eth0", peer0, "up0", "2001:db8:1::2", "", 1500)},
		{"IPv6 behind a router", "2001:db8:20::11", way("eth0", peer0, "up0", "2001:db8:1::2", "2001:db8:1::1", 1500)},
		{"IPv6 behind a router with a link-local address", "2001:db8:30::11", way("eth1", peer1, "up1", "2001:db8:2::2", "fe80::2:1", 1500)},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if got := balancer.watch(t, row.addr).awaitWay(row.addr); got != row.want {
				t.Errorf("got  %+v\nwant %+v", got, row.want)
			}
		})
	}
}

func TestPrivilegedProblemsAreToldOfARealNetwork(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	balancer.must(balancer.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IP{10, 66, 0, 0}, Mask: net.CIDRMask(24, 32)}, Type: unix.RTN_BLACKHOLE}))
	for _, row := range []struct{ promise, addr, problem string }{
		{"an address that nothing leads to", "10.99.0.1", "no route to 10.99.0.1: add one, or a default route"},
		{"an IPv6 address that nothing leads to", "2001:db8:99::1", "no route to 2001:db8:99::1: add one, or a default route"},
		{"the balancer's own address", "10.1.0.2", "the route to 10.1.0.2 goes via lo: the address is this host's own"},
		{"a blackhole", "10.66.0.1", "the route to 10.66.0.1 is a blackhole, unreachable or prohibit route: see ip route get 10.66.0.1"},
		{"an address that nobody has", "10.1.0.77", "neighbour 10.1.0.77 on eth0 does not answer ARP: is it up, and on this segment?"},
		{"an IPv6 address that nobody has", "2001:db8:1::77", "neighbour 2001:db8:1::77 on eth0 does not answer neighbour discovery: is it up, and on this segment?"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			balancer.watch(t, row.addr).awaitProblem(row.addr, row.problem)
		})
	}
}

func TestPrivilegedADeviceThatXDPCannotSendFromIsTold(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	eth0 := balancer.link("eth0").Attrs().Index
	attrs := func(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name, TxQLen: -1} }
	macvlan := &netlink.Macvlan{LinkAttrs: attrs("mac0"), Mode: netlink.MACVLAN_MODE_BRIDGE}
	macvlan.ParentIndex = eth0
	for n, row := range []struct {
		device netlink.Link
		says   string
	}{
		{&netlink.Bridge{LinkAttrs: attrs("br0")}, "XDP cannot send from interface br0, a bridge: give the port that leads to the backends the addresses and the route"},
		{macvlan, "XDP cannot send from interface mac0, a macvlan: give eth0, the interface below, the addresses and the route"},
		{&netlink.Vxlan{LinkAttrs: attrs("vx0"), VxlanId: 7, Port: 4789, VtepDevIndex: eth0}, "XDP cannot send from interface vx0, a vxlan: route to the backends outside of the tunnel: ipip needs no other one"},
	} {
		name := row.device.Attrs().Name
		balancer.must(balancer.LinkAdd(row.device))
		balancer.must(balancer.LinkSetUp(balancer.link(name)))
		if name == "br0" { // which has a carrier once a port has
			balancer.must(balancer.LinkSetMaster(balancer.link("eth1"), balancer.link("br0")))
		}
		balancer.assign(name, fmt.Sprintf("10.60.%d.1/24", n))
		addr := fmt.Sprintf("10.60.%d.9", n)
		w := balancer.watch(t, addr)
		w.Set([]netip.Addr{netip.MustParseAddr(addr)}, []Ingress{{Name: "eth1", Attached: true, Native: true}})
		w.awaitProblem(addr, row.says)
	}
}

func TestPrivilegedNeighbourThatAppearsIsFound(t *testing.T) {
	balancer, peer0, _ := twoSegments(t)
	w := balancer.watch(t, "10.1.0.50", "2001:db8:1::50")
	w.awaitProblem("10.1.0.50", "neighbour 10.1.0.50 on eth0 does not answer ARP: is it up, and on this segment?")
	peer0.assign("up0", "10.1.0.50/24")
	w.awaitWay("10.1.0.50")
	peer0.assign("up0", "2001:db8:1::50/64")
	w.awaitWay("2001:db8:1::50")
}

func TestPrivilegedNewMACOfABackendIsTold(t *testing.T) {
	balancer, peer0, _ := twoSegments(t)
	w := balancer.watch(t, "10.1.0.11")
	w.awaitWay("10.1.0.11")
	peer0.inside(func() error { // a server that takes over an address says so
		return os.WriteFile("/proc/sys/net/ipv4/conf/up0/arp_notify", []byte("1"), 0)
	})
	mac := [6]byte{2, 0, 0, 0, 0, 0x77}
	peer0.must(peer0.LinkSetHardwareAddr(peer0.link("up0"), mac[:]))
	w.await("10.1.0.11", "the new MAC", func(r Resolution) bool { return r.NextHopMAC == mac })
}

func TestPrivilegedLinkThatGoesDownAndUpIsTold(t *testing.T) {
	for _, row := range []struct {
		promise, addr string
		lost          []string // addresses of the peer that its interface loses when it goes down
	}{
		{"IPv4", "10.1.0.11", nil},
		{"IPv6", "2001:db8:1::1", []string{"2001:db8:1::1/64", "fe80::1:1/64"}},
	} {
		t.Run("the other end, seen by "+row.promise, func(t *testing.T) {
			balancer, peer0, _ := twoSegments(t)
			w := balancer.watch(t, row.addr)
			w.awaitWay(row.addr)
			peer0.must(peer0.LinkSetDown(peer0.link("up0")))
			w.awaitProblem(row.addr, "interface eth0 has no carrier: check its cable and the other end")
			peer0.must(peer0.LinkSetUp(peer0.link("up0")))
			for _, addr := range row.lost {
				peer0.assign("up0", addr)
			}
			w.awaitWay(row.addr)
		})
	}
	t.Run("the balancer's own interface, which takes its routes with it", func(t *testing.T) {
		balancer, _, _ := twoSegments(t)
		w := balancer.watch(t, "10.1.0.11")
		w.awaitWay("10.1.0.11")
		balancer.must(balancer.LinkSetDown(balancer.link("eth0")))
		w.awaitProblem("10.1.0.11", "interface eth0 is down, and the route to 10.1.0.11 with it: ip link set eth0 up")
		balancer.must(balancer.LinkSetUp(balancer.link("eth0")))
		w.awaitWay("10.1.0.11")
	})
}

func TestPrivilegedRouteThatMovesToAnotherInterfaceIsFollowed(t *testing.T) {
	balancer, _, peer1 := twoSegments(t)
	balancer.route("10.20.0.0/24", "10.1.0.1", 0)
	balancer.watch(t, "10.2.0.1").awaitWay("10.2.0.1") // the other interface is ready
	w := balancer.watch(t, "10.20.0.11")
	w.awaitWay("10.20.0.11")
	balancer.route("10.20.0.0/24", "10.2.0.1", 0)
	moved := w.await("10.20.0.11", "anything", func(Resolution) bool { return true })
	if moved.Problem != "" || moved.Interface != "eth1" || moved.NextHopMAC != peer1.mac("up1") || moved.Source != netip.MustParseAddr("10.2.0.2") {
		t.Errorf("the next thing told was %+v, want the way over eth1", moved)
	}
}

func TestPrivilegedNeighboursAreKeptByTheKernelUntilTheEnd(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	addr := netip.MustParseAddr("10.1.0.11")
	w := balancer.watch(t, addr.String())
	w.awaitWay(addr.String())
	if n := balancer.stored("eth0", addr); !asNeighbour(n).Managed {
		t.Errorf("the kernel does not keep %+v", n)
	}
	w.end()
	if n := balancer.stored("eth0", addr); asNeighbour(n).Managed || !asNeighbour(n).usable() {
		t.Errorf("after the end the kernel has %+v, want an ordinary entry", n)
	}
}

func TestPrivilegedPermanentNeighbourIsLeftAsItWas(t *testing.T) {
	balancer, _, _ := twoSegments(t)
	addr, mac := netip.MustParseAddr("10.1.0.88"), net.HardwareAddr{2, 0, 0, 0, 0, 0x88}
	balancer.must(balancer.NeighSet(&netlink.Neigh{
		LinkIndex: balancer.link("eth0").Attrs().Index, IP: addr.AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
	}))
	w := balancer.watch(t, addr.String())
	if found := w.awaitWay(addr.String()); found.NextHopMAC != [6]byte(mac) {
		t.Errorf("found %+v", found)
	}
	w.end()
	if n := balancer.stored("eth0", addr); n.State != netlink.NUD_PERMANENT {
		t.Errorf("the operator's entry became %+v", n)
	}
}
