package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is a machine of the lab: a network namespace of its own.
type Host struct {
	Name  string     // "backend-1"
	Addr4 netip.Addr // of eth0
	Addr6 netip.Addr // of eth0, global

	mtu   int // of its wires, if it is no client
	ns    *namespace
	links *netlink.Handle
	plugs []plug // the far ends of its cables
	addrs []netip.Addr

	lock      sync.Mutex
	processes []*Process
	ports     Ports
	servers   *servers
}

// plug is the switch's end of a cable.
type plug struct {
	host *Host
	name string
	near string // the host's own end
}

func (l *Lab) addHost(name string) (*Host, error) {
	ns, err := newNamespace(l.Prefix + "-" + name)
	if err != nil {
		return nil, err
	}
	h := &Host{Name: name, mtu: l.mtu, ns: ns}
	l.hosts = append(l.hosts, h)
	if h.links, err = netlink.NewHandleAt(ns.handle, unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("opening netlink in %s: %w", ns.name, err)
	}
	for _, s := range [][2]string{
		// Addresses are usable at once: nobody else is on these wires.
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/all/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
		{"net/ipv4/ip_forward", "0"},
		// What Debian's systemd sets: loose reverse path filtering.
		{"net/ipv4/conf/all/rp_filter", "2"},
		{"net/ipv4/conf/default/rp_filter", "2"},
	} {
		if err := h.Sysctl(s[0], s[1]); err != nil {
			return nil, err
		}
	}
	return h, h.setUp("lo")
}

// Namespace is the path for "nsenter --net=PATH", which unlike "ip netns exec"
// leaves /sys/fs/bpf visible.
func (h *Host) Namespace() string { return filepath.Join(namespaces, h.ns.name) }

// Addrs are all addresses that the lab gave the host, of every interface.
func (h *Host) Addrs() []netip.Addr { return slices.Clone(h.addrs) }

// Links is a netlink handle inside the host.
func (h *Host) Links() *netlink.Handle { return h.links }

// Do runs f with the calling thread inside the host. Goroutines that f starts
// are not inside; sockets that f opens are, and stay so.
func (h *Host) Do(f func() error) error { return h.ns.enter(f) }

// Sysctl sets /proc/sys/KEY inside the host.
func (h *Host) Sysctl(key, value string) error {
	return h.Do(func() error {
		// Not /proc/sys through another thread: what is under net is the
		// calling thread's namespace's.
		return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
	})
}

// Dial connects from the host to a literal ADDRESS:PORT.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the host for tcp, tcp4 or tcp6.
func (h *Host) Listen(network, address string) (net.Listener, error) {
	var listener net.Listener
	err := h.Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(context.Background(), network, address)
		return err
	})
	return listener, err
}

// ListenPacket listens on the host for udp, udp4 or udp6.
func (h *Host) ListenPacket(network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := h.Do(func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(context.Background(), network, address)
		return err
	})
	return conn, err
}

// AddAddress gives an interface of the host another address, usable on return.
func (h *Host) AddAddress(iface string, prefix netip.Prefix) error {
	link, err := h.links.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("finding %s on %s: %w", iface, h.Name, err)
	}
	if err := h.links.AddrAdd(link, &netlink.Addr{IPNet: ipNet(prefix)}); err != nil {
		return fmt.Errorf("adding %s to %s of %s: %w", prefix, iface, h.Name, err)
	}
	return h.awaitAddress(prefix.Addr())
}

// awaitAddress waits until the host takes packets to an address of its own. The
// kernel adds the local route of an IPv6 address behind the caller's back, even
// where duplicate address detection is off.
func (h *Host) awaitAddress(addr netip.Addr) error {
	deadline := time.Now().Add(5 * time.Second)
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		routes, err := h.links.RouteGet(addr.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not take packets to its address %s: %v", h.Name, addr, err)
		}
	}
}

// AddRoute sends the host's packets for a prefix to a gateway.
func (h *Host) AddRoute(to netip.Prefix, gateway netip.Addr) error {
	if err := h.links.RouteReplace(&netlink.Route{Dst: ipNet(to), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("routing %s to %s on %s: %w", to, gateway, h.Name, err)
	}
	return nil
}

// Ignore makes the host drop packets from a prefix unanswered, before anything
// listens to them.
func (h *Host) Ignore(from netip.Prefix) error {
	// A source without a way back is refused by reverse path filtering.
	if err := h.links.RouteReplace(&netlink.Route{Dst: ipNet(from), Type: unix.RTN_BLACKHOLE}); err != nil {
		return fmt.Errorf("ignoring %s on %s: %w", from, h.Name, err)
	}
	return nil
}

// Port is the far end of an interface's cable: the switch, and its port.
func (h *Host) Port(iface string) (other *Host, name string) {
	for _, p := range h.plugs {
		if p.near == iface {
			return p.host, p.name
		}
	}
	return nil, ""
}

// Unplug pulls the host's cables: nothing reaches it and it reaches nobody.
// The host itself sees its links lose their carrier.
func (h *Host) Unplug() error { return h.replug((*netlink.Handle).LinkSetDown) }

// Plug undoes Unplug. The kernel may take a second to notice the carrier.
func (h *Host) Plug() error { return h.replug((*netlink.Handle).LinkSetUp) }

func (h *Host) replug(set func(*netlink.Handle, netlink.Link) error) error {
	for _, p := range h.plugs {
		link, err := p.host.links.LinkByName(p.name)
		if err == nil {
			err = set(p.host.links, link)
		}
		if err != nil {
			return fmt.Errorf("changing port %s of %s: %w", p.name, p.host.Name, err)
		}
	}
	return nil
}

// PlugInBeside gives the host another interface, and a cable from it to the switch
// that another host is plugged into. It is up, and has no address.
func (h *Host) PlugInBeside(iface string, other *Host) error {
	if len(other.plugs) == 0 {
		return fmt.Errorf("%s is plugged into nothing", other.Name)
	}
	return h.plugIn(iface, other.plugs[0].host)
}

// RefuseXDP makes the driver of an interface refuse programs, so that they run in
// generic mode: a veth does where its other end may send what fits no page.
func (h *Host) RefuseXDP(iface string) error {
	i := slices.IndexFunc(h.plugs, func(p plug) bool { return p.near == iface })
	if i < 0 {
		return fmt.Errorf("%s of %s is plugged into nothing", iface, h.Name)
	}
	to := h.plugs[i]
	port, err := to.host.links.LinkByName(to.name)
	if err == nil {
		err = to.host.links.LinkSetMTU(port, 9000)
	}
	if err != nil {
		return fmt.Errorf("changing the MTU of port %s of %s: %w", to.name, to.host.Name, err)
	}
	return nil
}

// Replace takes out an interface that is plugged into a switch, and puts another in
// its place, of the same name and with the same addresses. Its routes are gone but
// for those that come with addresses.
func (h *Host) Replace(iface string) error {
	i := slices.IndexFunc(h.plugs, func(p plug) bool { return p.near == iface })
	if i < 0 {
		return fmt.Errorf("%s of %s is plugged into nothing", iface, h.Name)
	}
	to := h.plugs[i].host
	h.plugs = slices.Delete(h.plugs, i, i+1)
	link, err := h.links.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("finding %s of %s: %w", iface, h.Name, err)
	}
	addresses, err := h.links.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing the addresses of %s of %s: %w", iface, h.Name, err)
	}
	if err := h.links.LinkDel(link); err != nil {
		return fmt.Errorf("taking out %s of %s: %w", iface, h.Name, err)
	}
	// Whoever waits for the name finds the interface as it shall be: with a program
	// on it, a veth takes other settings of its peer.
	const anonymous = "spare0"
	if err := h.plugIn(anonymous, to); err != nil {
		return err
	}
	h.plugs[len(h.plugs)-1].near = iface
	if link, err = h.links.LinkByName(anonymous); err == nil {
		err = errors.Join(h.links.LinkSetDown(link), h.links.LinkSetName(link, iface), h.setUp(iface))
	}
	if err != nil {
		return fmt.Errorf("naming %s of %s: %w", iface, h.Name, err)
	}
	for _, a := range addresses {
		ones, _ := a.Mask.Size()
		addr, _ := netip.AddrFromSlice(a.IP)
		if addr = addr.Unmap(); addr.IsLinkLocalUnicast() {
			continue // the new one makes its own
		}
		if err := h.AddAddress(iface, netip.PrefixFrom(addr, ones)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) setUp(iface string) error {
	link, err := h.links.LinkByName(iface)
	if err == nil {
		err = h.links.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("setting up %s on %s: %w", iface, h.Name, err)
	}
	return nil
}

func (h *Host) remove() error {
	if h.links != nil {
		h.links.Close()
	}
	return h.ns.remove()
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
