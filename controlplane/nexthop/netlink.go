package nexthop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netlinkKernel is the kernel behind rtnetlink. It decides nothing.
type netlinkKernel struct {
	handle    *netlink.Handle
	namespace netns.NsHandle
	buffer    int // of a subscription, in bytes
}

// receiveBuffer holds the events of thousands of routes that change at once.
const receiveBuffer = 4 << 20

func openNetlink(namespace *netns.NsHandle) (kernel, error) {
	ns := netns.None()
	if namespace != nil {
		ns = *namespace
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return &netlinkKernel{handle, ns, receiveBuffer}, nil
}

func (k *netlinkKernel) Close() { k.handle.Close() }

// dumps is how often a list is tried that changes while it is read.
const dumps = 5

func (k *netlinkKernel) List() ([]Link, []Neighbour, error) {
	found, err := again(k.handle.LinkList)
	if err != nil {
		return nil, nil, err
	}
	var links []Link
	for _, l := range found {
		links = append(links, asLink(l))
	}
	var neighbours []Neighbour
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		entries, err := again(func() ([]netlink.Neigh, error) { return k.handle.NeighList(0, family) })
		if err != nil {
			return nil, nil, err
		}
		for _, n := range entries {
			neighbours = append(neighbours, asNeighbour(n))
		}
	}
	return links, neighbours, nil
}

func again[T any](list func() ([]T, error)) (found []T, err error) {
	for range dumps {
		if found, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return found, err
}

func (k *netlinkKernel) Route(addr netip.Addr) (Route, error) {
	routes, err := k.handle.RouteGet(addr.AsSlice())
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EAFNOSUPPORT):
		return Route{Kind: NoRoute}, nil
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return Route{Kind: Refused}, nil // unreachable, prohibit and blackhole
	case err != nil:
		return Route{}, err
	case len(routes) == 0:
		return Route{Kind: NoRoute}, nil
	}
	route := asRoute(routes[0])
	if route.MTU == 0 {
		return route, nil
	}
	// The MTU may be one that the kernel has learned from an ICMP message and
	// will forget again without a word. Only the one of the table is lasting.
	lasting, err := k.handle.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err == nil && len(lasting) > 0 {
		route.MTU = lasting[0].MTU
	}
	return route, nil
}

// Ask uses NTF_USE, which asks at once, and NTF_EXT_MANAGED, which lets the
// kernel keep asking. Kernels before 5.16 do not know the second and ignore it.
func (k *netlinkKernel) Ask(h hop) error {
	return k.set(h, netlink.NTF_EXT_MANAGED)
}

func (k *netlinkKernel) Release(h hop) error {
	return k.set(h, 0)
}

func (k *netlinkKernel) set(h hop, extended int) error {
	return k.handle.NeighSet(&netlink.Neigh{
		LinkIndex: h.Interface,
		IP:        h.Addr.AsSlice(),
		Flags:     netlink.NTF_USE,
		FlagsExt:  extended,
	})
}

func asLink(l netlink.Link) Link {
	a := l.Attrs()
	link := Link{
		Index: a.Index, Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU,
		Up:      a.RawFlags&unix.IFF_UP != 0,
		Carrier: a.RawFlags&unix.IFF_RUNNING != 0,
		Native:  a.Xdp != nil && a.Xdp.AttachMode == nl.XDP_ATTACHED_DRV,
		Parent:  a.ParentIndex,
		Abroad:  a.NetNsID >= 0,
	}
	switch l := l.(type) {
	case *netlink.Device: // without a kind
	case *netlink.Vlan:
		link.Kind = l.Type()
		link.Tag = Tag{ID: uint16(l.VlanId), Service: l.VlanProtocol == netlink.VLAN_PROTOCOL_8021AD}
	case *netlink.Bond:
		link.Kind, link.BondMode = l.Type(), l.Mode.String()
	default:
		link.Kind = l.Type()
	}
	return link
}

func asNeighbour(n netlink.Neigh) Neighbour {
	out := Neighbour{
		hop:     hop{n.LinkIndex, asAddr(n.IP)},
		MAC:     n.HardwareAddr,
		Managed: n.FlagsExt&netlink.NTF_EXT_MANAGED != 0,
	}
	switch {
	case n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0:
		out.State = Fixed
	case n.State&(netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE) != 0:
		out.State = Answered
	case n.State&netlink.NUD_FAILED != 0:
		out.State = Failed
	}
	return out
}

func asRoute(r netlink.Route) Route {
	route := Route{
		Kind:      Special,
		Interface: r.LinkIndex,
		Gateway:   asAddr(r.Gw),
		Source:    asAddr(r.Src),
		MTU:       r.MTU,
	}
	if via, ok := r.Via.(*netlink.Via); ok { // an IPv4 route through an IPv6 gateway (RFC 5549)
		route.Gateway = asAddr(via.Addr)
	}
	switch r.Type {
	case unix.RTN_UNICAST:
		route.Kind = Unicast
	case unix.RTN_LOCAL:
		route.Kind = Local
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
		route.Kind = Refused
	}
	return route
}

func asAddr(ip net.IP) netip.Addr {
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
