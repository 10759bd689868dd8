//go:build kernels

package devices

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

const (
	q  = netlink.VLAN_PROTOCOL_8021Q
	ad = netlink.VLAN_PROTOCOL_8021AD
)

// vlan is a tag of a way.
type vlan struct {
	id       int
	protocol netlink.VlanProtocol
}

// lane is a way from the balancer to a backend of its own: over VLANs, the lowest
// first, of an interface of the balancer and of the backend's eth0.
type lane struct {
	promise string
	parent  string
	vlans   []vlan
	hop     string // how the status calls it, before the MAC
	backend *lab.Host
	number  int
}

func lanes(backends []*lab.Host) []*lane {
	all := []*lane{
		{promise: "a VLAN of the interface where packets arrive", parent: "eth0", vlans: []vlan{{50, q}}, hop: "eth0 vlan 50"},
		{promise: "a VLAN", parent: "eth1", vlans: []vlan{{100, q}}, hop: "eth1 vlan 100"},
		{promise: "a VLAN of a VLAN", parent: "eth1", vlans: []vlan{{200, q}, {300, q}}, hop: "eth1 vlan 200.300"},
		{promise: "a customer's VLAN in a provider's", parent: "eth1", vlans: []vlan{{400, ad}, {500, q}}, hop: "eth1 vlan 400.500"},
		{promise: "a provider's VLAN alone", parent: "eth1", vlans: []vlan{{600, ad}}, hop: "eth1 vlan 600"},
		{promise: "a bond", parent: "bond0", hop: "bond0"},
		{promise: "a VLAN of a bond", parent: "bond0", vlans: []vlan{{700, q}}, hop: "bond0 vlan 700"},
	}
	for i, l := range all {
		l.number, l.backend = i, backends[i]
	}
	return all
}

// at is an address of the lane's network: of the balancer, or of the backend.
func (l *lane) at(number byte) (v4, v6 netip.Prefix) {
	a6 := netip.MustParseAddr("2001:db8:77::").As16()
	a6[7], a6[15] = byte(l.number), number
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(l.number), number}), 24), netip.PrefixFrom(netip.AddrFrom16(a6), 64)
}

// stack makes the VLANs of a lane on a host, gives the uppermost its addresses and
// returns its name.
func (l *lane) stack(t *testing.T, h *lab.Host, parent string, number byte) string {
	t.Helper()
	for _, v := range l.vlans {
		below, err := h.Links().LinkByName(parent)
		must(t, err)
		name := fmt.Sprintf("%s.%d", parent, v.id)
		must(t, h.Links().LinkAdd(&netlink.Vlan{
			LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: below.Attrs().Index, TxQLen: -1}, VlanId: v.id, VlanProtocol: v.protocol,
		}))
		up(t, h, name)
		parent = name
	}
	v4, v6 := l.at(number)
	must(t, h.AddAddress(parent, v4))
	must(t, h.AddAddress(parent, v6))
	return parent
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func up(t *testing.T, h *lab.Host, name string) {
	t.Helper()
	link, err := h.Links().LinkByName(name)
	must(t, err)
	must(t, h.Links().LinkSetUp(link))
}

// bond makes a bond of two new interfaces on the balancer, which is up.
func bond(t *testing.T, h *lab.Host, name string, beside *lab.Host, slaves ...string) {
	t.Helper()
	_, err := h.Run(t.Context(), "ip", "link", "add", name, "mtu", "1600", "type", "bond", "mode", "active-backup", "miimon", "20")
	must(t, err)
	link, err := h.Links().LinkByName(name)
	must(t, err)
	for _, slave := range slaves {
		must(t, h.PlugInBeside(slave, beside))
		s, err := h.Links().LinkByName(slave)
		must(t, err)
		must(t, h.Links().LinkSetDown(s))
		must(t, h.Links().LinkSetMaster(s, link))
		up(t, h, slave)
	}
	up(t, h, name)
}

// newLanes is a balancer that reaches each backend by its lane.
func newLanes(t *testing.T) (*balancer.Balancer, []*lane) {
	t.Helper()
	program, err := balancer.Build(t.Context(), t.TempDir())
	must(t, err)
	var ports lab.Ports
	for i := range lanes(make([]*lab.Host, 7)) {
		of := portsOf(i)
		ports.HTTP, ports.TCP, ports.UDP = append(ports.HTTP, of[traffic.HTTP]), append(ports.TCP, of[traffic.TCP]), append(ports.UDP, of[traffic.UDP])
	}
	b := balancer.New(lab.ForTest(t, lab.Options{Backends: 1, SecondSegment: 6, Ports: ports}), program)
	t.Cleanup(func() {
		if t.Failed() && b.Daemon != nil {
			t.Logf("the balancer's log:\n%s", b.Log())
		}
		if err := b.Close(); err != nil {
			t.Errorf("clearing up: %v", err)
		}
	})
	bond(t, b.Host, "bond0", b.Lab.Backends[1], "eth2", "eth3")
	all := lanes(b.Lab.Backends)
	for _, l := range all {
		l.stack(t, b.Host, l.parent, 1)
		iface := l.stack(t, l.backend, "eth0", 11)
		v4, v6 := l.at(1)
		must(t, b.DecapOn(t.Context(), l.backend, iface, []netip.Addr{v4.Addr(), v6.Addr()}, lab.VIP4(10), lab.VIP6(10)))
	}
	return b, all
}

// laneService is a service of a lane, over IPv4 on even lanes and IPv6 on odd ones.
func (l *lane) service() string {
	v4, v6 := l.at(11)
	to := []netip.Addr{v4.Addr(), v6.Addr()}[l.number%2]
	var listen []string
	for kind, port := range portsOf(l.number) {
		protocol := "tcp"
		if kind == traffic.UDP {
			protocol = "udp"
		}
		for _, vip := range []netip.Addr{lab.VIP4(10), lab.VIP6(10)} {
			listen = append(listen, fmt.Sprintf("%q", netip.AddrPortFrom(vip, port).String()+"/"+protocol))
		}
	}
	return fmt.Sprintf("service \"lane-%d\" {\n listen = [%s]\n slots = 251\n backend \"%s\" {}\n}\n", l.number, strings.Join(listen, ", "), to)
}

func configureLanes(t *testing.T, b *balancer.Balancer, all []*lane, interfaces string) {
	t.Helper()
	text := `interfaces = ` + interfaces + `
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
state_dir  = "` + b.StateDir() + `"
`
	for _, l := range all {
		text += l.service()
	}
	must(t, b.Configure(text))
}

func askAll(t *testing.T, b *balancer.Balancer, all []*lane) {
	t.Helper()
	for _, l := range all {
		t.Run(l.promise, func(t *testing.T) {
			for kind, port := range portsOf(l.number) {
				for _, vip := range []netip.Addr{lab.VIP4(10), lab.VIP6(10)} {
					ask(t, traffic.Load{From: b.Lab.Client, Kind: kind, To: netip.AddrPortFrom(vip, port)}, l.backend.Name)
				}
			}
		})
	}
}

func TestPrivilegedBackendsAreReachedOverVLANsAndBonds(t *testing.T) {
	b, all := newLanes(t)
	configureLanes(t, b, all, `["eth0"]`)
	must(t, b.Start())
	_, err := b.AwaitReady(t.Context())
	must(t, err)
	backends, err := b.Backends(t.Context())
	must(t, err)
	for i, l := range all {
		if got := backends.Services[i].Backends[0].NextHop; !strings.HasPrefix(got, l.hop+" ") {
			t.Errorf("%s: the next hop is %q, want it to be %q and a MAC", l.promise, got, l.hop)
		}
	}
	askAll(t, b, all)
	t.Run("a packet that just fits two tags arrives, and of a larger one the client hears", func(t *testing.T) { fits(t, b, all[2]) })
	t.Run("a bond goes on by its other card", func(t *testing.T) { failOver(t, b, all[5]) })
	t.Run("packets may arrive by a bond, natively", func(t *testing.T) { arriveByBond(t, b, all) })
	t.Run("a VLAN is no place to attach to, and the status says what is", func(t *testing.T) {
		below, err := b.Host.Links().LinkByName("eth0")
		must(t, err)
		must(t, b.Host.Links().LinkAdd(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "eth0.10", ParentIndex: below.Attrs().Index}, VlanId: 10}))
		up(t, b.Host, "eth0.10")
		configureLanes(t, b, all, `["eth0", "eth0.10"]`)
		must(t, b.Reload())
		attached(t, b, "eth0.10", "generic", "a VLAN has no native mode: attach to eth0, which sees its packets with their tags")
	})
}

// fits sends datagrams that fill the interface below two VLANs to the last byte, and
// beyond: there the client is told, because the kernel would drop them unseen.
func fits(t *testing.T, b *balancer.Balancer, l *lane) {
	const mtu = 1504
	link, err := b.Host.Links().LinkByName("eth1")
	must(t, err)
	must(t, b.Host.Links().LinkSetMTU(link, mtu))
	conn, err := b.Lab.Client.Dial(t.Context(), "udp", netip.AddrPortFrom(lab.VIP4(10), portsOf(l.number)[traffic.UDP]).String())
	must(t, err)
	defer conn.Close()
	// Outer IPv4, inner IPv4 and UDP headers, and the second tag.
	largest := strings.Repeat("x", mtu-4-20-20-8)
	must(t, b.Await(t.Context(), patience, "a byte more is answered as too big", func() error {
		if _, err := conn.Write([]byte(largest + "x")); err != nil {
			return nil // the client has been told, and keeps to it
		}
		now, err := b.Status(t.Context())
		if err == nil && now.Outcomes["REPLY_TOO_BIG"] == 0 {
			err = fmt.Errorf("the outcomes are %v", now.Outcomes)
		}
		return err
	}))
	answer := make([]byte, 2*mtu)
	for range 10 { // the first may find the news of the last one on its socket
		must(t, conn.SetDeadline(time.Now().Add(time.Second)))
		_, err = conn.Write([]byte(largest))
		n := 0
		if err == nil {
			n, err = conn.Read(answer)
		}
		if err == nil && strings.HasSuffix(string(answer[:n]), " "+largest) {
			return
		}
	}
	t.Errorf("no answer: %v", err)
}

// failOver takes the bond's active card down under open flows.
func failOver(t *testing.T, b *balancer.Balancer, l *lane) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	flows, err := traffic.Open(ctx, b.Lab.Client, traffic.TCP, netip.AddrPortFrom(lab.VIP4(10), portsOf(l.number)[traffic.TCP]), 10)
	must(t, err)
	defer flows.Close()
	for _, down := range []string{"eth2", "eth3"} {
		link, err := b.Host.Links().LinkByName(down)
		must(t, err)
		must(t, b.Host.Links().LinkSetDown(link))
		if broken := flows.Use(patience); len(broken) > 0 {
			t.Errorf("with %s down %d flows broke: %v", down, len(broken), broken[0].Broken)
		}
		up(t, b.Host, down)
		if broken := flows.Use(patience); len(broken) > 0 {
			t.Errorf("with %s up again %d flows broke: %v", down, len(broken), broken[0].Broken)
		}
	}
}

// arriveByBond has the router send VIPs to an address of a bond.
func arriveByBond(t *testing.T, b *balancer.Balancer, all []*lane) {
	// Two interfaces are on one segment: each answers for its own addresses only.
	must(t, b.Host.Sysctl("net/ipv4/conf/all/arp_ignore", "1"))
	bond(t, b.Host, "bond1", b.Lab.Router, "eth4", "eth5")
	address := netip.MustParsePrefix("198.51.100.100/25")
	must(t, b.Host.AddAddress("bond1", address))
	configureLanes(t, b, all, `["bond1"]`)
	must(t, b.Reload())
	attached(t, b, "bond1", "native", "")
	must(t, b.Lab.Router.AddRoute(lab.VIPNet4, address.Addr()))
	// And what arrives by it may leave by it.
	first := all[0]
	below, err := b.Host.Links().LinkByName("eth0.50")
	must(t, err)
	must(t, b.Host.Links().LinkDel(below))
	first.stack(t, b.Host, "bond1", 1)
	must(t, b.Await(t.Context(), patience, "lane-0 leads over the bond", func() error {
		now, err := b.Backends(t.Context())
		if err == nil && !strings.HasPrefix(now.Services[0].Backends[0].NextHop, "bond1 vlan 50 ") {
			err = fmt.Errorf("it leads over %q", now.Services[0].Backends[0].NextHop)
		}
		return err
	}))
	for _, l := range all {
		for kind, port := range portsOf(l.number) {
			ask(t, traffic.Load{From: b.Lab.Client, Kind: kind, To: netip.AddrPortFrom(lab.VIP4(10), port)}, l.backend.Name)
		}
	}
}

func attached(t *testing.T, b *balancer.Balancer, name, mode, reason string) {
	t.Helper()
	must(t, b.Await(t.Context(), 3*patience, name+" is attached", func() error {
		now, err := b.Status(t.Context())
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(now.Interfaces, func(i api.Interface) bool {
			return i.Name == name && i.Mode == mode && i.Reason == reason
		}) {
			return fmt.Errorf("attached are %+v", now.Interfaces)
		}
		return nil
	}))
}
