package lab

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultMTU is that of the wires between balancer and backends: a client's full
// frame still fits with all outer headers. Clients are behind ClientMTU.
const (
	DefaultMTU = 1600
	ClientMTU  = 1500
)

// wire joins two hosts by a cable, a veth pair.
//
// Every end is set to behave as a wire between machines does. Frames leave it
// finished, with full checksums, with their VLAN tags and at most one MTU long: XDP
// would lose the kernel's notes about what is still to be done. Both ends are up
// afterwards.
func wire(a *Host, aName string, b *Host, bName string, mtu int) error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: aName, MTU: mtu, TxQLen: -1})
	veth.PeerName, veth.PeerMTU = bName, uint32(mtu)
	veth.PeerNamespace = netlink.NsFd(b.ns.handle)
	if err := a.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("joining %s of %s to %s of %s: %w", aName, a.Name, bName, b.Name, err)
	}
	a.plugs = append(a.plugs, plug{b, bName, aName})
	for _, end := range []plug{{host: a, name: aName}, {host: b, name: bName}} {
		if err := end.host.Do(func() error { return beLikeAWire(end.name) }); err != nil {
			return fmt.Errorf("setting the offloads of %s of %s: %w", end.name, end.host.Name, err)
		}
		if err := end.host.setUp(end.name); err != nil {
			return err
		}
	}
	return nil
}

// newSwitch is a host with one bridge, br0.
func (l *Lab) newSwitch(name string) (*Host, error) {
	h, err := l.addHost(name)
	if err != nil {
		return nil, err
	}
	// Without snooping, neighbour discovery needs no querier.
	snooping := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", MTU: l.mtu, TxQLen: -1}, MulticastSnooping: &snooping}
	if err := h.links.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("making the bridge of %s: %w", name, err)
	}
	// Where br_netfilter is loaded it would hand bridged packets to iptables.
	for _, family := range []string{"arptables", "iptables", "ip6tables"} {
		_ = h.Sysctl("net/bridge/bridge-nf-call-"+family, "0") // absent unless loaded
	}
	return h, h.setUp("br0")
}

// plugIn joins a host's interface to a switch. The port has the host's name, and
// those of more cables of one host that of their interface behind it.
func (h *Host) plugIn(iface string, to *Host) error {
	name := h.Name
	if slices.ContainsFunc(h.plugs, func(p plug) bool { return p.host == to && p.name == name }) {
		name += "-" + iface
	}
	if err := wire(h, iface, to, name, h.mtu); err != nil {
		return err
	}
	port, err := to.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding port %s of %s: %w", name, to.Name, err)
	}
	bridge, err := to.links.LinkByName("br0")
	if err != nil {
		return fmt.Errorf("finding the bridge of %s: %w", to.Name, err)
	}
	if err := to.links.LinkSetMaster(port, bridge); err != nil {
		return fmt.Errorf("putting port %s of %s into its bridge: %w", name, to.Name, err)
	}
	return to.Do(func() error { return takeXDP(port) })
}

// takeXDP makes a switch's port receive what a host sends by XDP. A veth takes
// frames of its peer's XDP_TX and redirects only if it has NAPI, which comes
// with GRO or with a program. GRO alone is not enough: frames of XDP_TX then
// wait in the ring until another frame comes along (veth_xdp_flush, measured on
// 6.18). GRO is even in the way, because a switch hands on what it gets. The
// program turns it on; so it is turned off last.
func takeXDP(port netlink.Link) error {
	fd, err := loadPass()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := netlink.LinkSetXdpFdWithFlags(port, fd, unix.XDP_FLAGS_DRV_MODE); err != nil {
		return fmt.Errorf("attaching a program to port %s: %w", port.Attrs().Name, err)
	}
	return setOffload(port.Attrs().Name, unix.ETHTOOL_SGRO, 0)
}

func beLikeAWire(iface string) error {
	return errors.Join(
		setOffload(iface, unix.ETHTOOL_STXCSUM, 0),
		setOffload(iface, unix.ETHTOOL_STSO, 0),
		setOffload(iface, unix.ETHTOOL_SGSO, 0),
		setOffload(iface, unix.ETHTOOL_SGRO, 0),
		setOffload(iface, unix.ETHTOOL_SFLAGS, 0), // VLAN tags too
	)
}

// setOffload is ethtool -K, by the ioctl of ethtool_value in linux/ethtool.h.
func setOffload(iface string, command, value uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	setting := struct{ command, value uint32 }{command, value}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the rest of struct ifreq
	}{data: unsafe.Pointer(&setting)}
	copy(request.name[:unix.IFNAMSIZ-1], iface)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&setting)
	if errno != 0 {
		return fmt.Errorf("ethtool command %#x on %s: %w", command, iface, errno)
	}
	return nil
}

// TakeFrames makes an interface without a program of its own take what its cable's
// other end sends by XDP.
func (h *Host) TakeFrames(iface string) error {
	link, err := h.links.LinkByName(iface)
	if err != nil {
		return err
	}
	return h.Do(func() error { return takeXDP(link) })
}
