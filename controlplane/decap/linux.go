package decap

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linux is the host that this process runs on, in its network namespace.
type linux struct{}

func (linux) look(sysctls []string) (Facts, error) {
	facts := Facts{Sysctls: make(map[string]string)}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Facts{}, err
	}
	facts.BootID = strings.TrimSpace(string(boot))
	for _, path := range sysctls {
		value, err := os.ReadFile(filepath.Join("/proc/sys", path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Facts{}, err
		}
		facts.Sysctls[path] = strings.TrimSpace(string(value))
	}
	names, err := lookAtInterfaces(&facts)
	if err != nil {
		return Facts{}, err
	}
	if err := lookAtAddresses(&facts, names); err != nil {
		return Facts{}, err
	}
	if err := lookAtLocal(&facts, names); err != nil {
		return Facts{}, err
	}
	return facts, errors.Join(lookAtRoutes(&facts, names), lookAtWaysOut(&facts))
}

func lookAtInterfaces(facts *Facts) (names map[int]string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	names = make(map[int]string, len(links))
	for _, link := range links {
		name := link.Attrs().Name
		names[link.Attrs().Index] = name
		facts.Interfaces = append(facts.Interfaces, name)
		if name == loopback {
			facts.LoopbackUp = link.Attrs().Flags&net.FlagUp != 0
		}
	}
	return names, nil
}

func lookAtAddresses(facts *Facts, names map[int]string) error {
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing addresses: %w", err)
	}
	facts.Addresses = make(map[netip.Addr][]string, len(addresses))
	for _, address := range addresses {
		if addr, ok := netip.AddrFromSlice(address.IP); ok {
			addr = addr.Unmap()
			facts.Addresses[addr] = append(facts.Addresses[addr], names[address.LinkIndex])
		}
	}
	return nil
}

// lookAtLocal finds the prefixes that a route makes this host's.
func lookAtLocal(facts *Facts, names map[int]string) error {
	local := &netlink.Route{Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, local, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_TYPE)
	if err != nil {
		return fmt.Errorf("listing local routes: %w", err)
	}
	facts.Local = make(map[netip.Prefix]bool)
	for _, route := range routes {
		if route.Dst == nil || names[route.LinkIndex] != loopback {
			continue
		}
		addr, _ := netip.AddrFromSlice(route.Dst.IP)
		ones, _ := route.Dst.Mask.Size()
		facts.Local[netip.PrefixFrom(addr.Unmap(), ones)] = true
	}
	return nil
}

func lookAtRoutes(facts *Facts, names map[int]string) error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	for _, route := range routes {
		for _, index := range interfacesOf(route) {
			if name := names[index]; name != "" && !slices.Contains(facts.RoutesBy, name) {
				facts.RoutesBy = append(facts.RoutesBy, name)
			}
		}
	}
	return nil
}

// lookAtWaysOut leaves out multicast and link-local routes, which every interface has.
func lookAtWaysOut(facts *Facts) error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("listing routes: %w", err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	for _, link := range links {
		leaves := slices.ContainsFunc(routes, func(route netlink.Route) bool {
			usual := route.Dst == nil || route.Dst.IP.IsGlobalUnicast() || route.Dst.IP.IsUnspecified()
			return usual && slices.Contains(interfacesOf(route), link.Attrs().Index)
		})
		if leaves && link.Attrs().EncapType == "ether" {
			facts.WaysOut = append(facts.WaysOut, link.Attrs().Name)
		}
	}
	slices.Sort(facts.WaysOut)
	return nil
}

func interfacesOf(route netlink.Route) []int {
	if len(route.MultiPath) == 0 {
		return []int{route.LinkIndex}
	}
	var indexes []int
	for _, hop := range route.MultiPath {
		indexes = append(indexes, hop.LinkIndex)
	}
	return indexes
}

// defaultInterface prefers IPv4's default route to IPv6's, and the better
// metric to the worse.
func (linux) defaultInterface() (string, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return "", fmt.Errorf("listing routes: %w", err)
		}
		routes = slices.DeleteFunc(routes, func(route netlink.Route) bool { return !leadsEverywhere(route) })
		if len(routes) == 0 {
			continue
		}
		best := slices.MinFunc(routes, func(a, b netlink.Route) int { return a.Priority - b.Priority })
		link, err := netlink.LinkByIndex(interfacesOf(best)[0])
		if err != nil {
			return "", fmt.Errorf("looking up the interface of the default route: %w", err)
		}
		return link.Attrs().Name, nil
	}
	return "", errors.New("there is no default route")
}

func leadsEverywhere(route netlink.Route) bool {
	if route.Type != unix.RTN_UNICAST {
		return false
	}
	if route.Dst == nil {
		return true
	}
	ones, _ := route.Dst.Mask.Size()
	return ones == 0
}

func (linux) change(c Change) error {
	switch c.Kind {
	case Sysctl:
		return writeSysctl(c.Name, c.After)
	case Route:
		route, err := routeToLoopback(c.Name)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("routing %s to lo: %w", c.Name, err)
		}
		return nil
	}
	lo, address, err := addressOnLoopback(c.Name)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, address); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding %s to lo: %w", c.Name, err)
	}
	return nil
}

func (linux) undo(c Change) error {
	switch c.Kind {
	case Sysctl:
		return writeSysctl(c.Name, c.Before)
	case Route:
		route, err := routeToLoopback(c.Name)
		if err != nil {
			return err
		}
		if err := netlink.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route of %s to lo: %w", c.Name, err)
		}
		return nil
	}
	lo, address, err := addressOnLoopback(c.Name)
	if err != nil {
		return err
	}
	if err := netlink.AddrDel(lo, address); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("removing %s from lo: %w", c.Name, err)
	}
	return nil
}

// routeToLoopback is what `ip route add local PREFIX dev lo` makes.
func routeToLoopback(text string) (*netlink.Route, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, err
	}
	lo, err := netlink.LinkByName(loopback)
	if err != nil {
		return nil, fmt.Errorf("looking up lo: %w", err)
	}
	return &netlink.Route{
		LinkIndex: lo.Attrs().Index,
		Dst:       &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())},
		Table:     unix.RT_TABLE_LOCAL,
		Type:      unix.RTN_LOCAL,
		Scope:     unix.RT_SCOPE_HOST,
		Protocol:  unix.RTPROT_STATIC,
	}, nil
}

func writeSysctl(path, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
		return fmt.Errorf("setting %s to %s: %w", path, value, err)
	}
	return nil
}

// addressOnLoopback is an address as this package puts it there: alone in its
// prefix, and never the source of this host's own connections. For IPv4 the
// scope sees to that (addresses of scope host are not chosen), for IPv6 a
// preferred lifetime of zero (RFC 6724, rule 3).
func addressOnLoopback(text string) (netlink.Link, *netlink.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return nil, nil, err
	}
	lo, err := netlink.LinkByName(loopback)
	if err != nil {
		return nil, nil, fmt.Errorf("looking up lo: %w", err)
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}}
	if addr.Is4() {
		address.Scope = unix.RT_SCOPE_HOST
		return lo, address, nil
	}
	forever := ^uint32(0)
	address.ValidLft = int(forever)
	address.Flags = unix.IFA_F_NODAD // nobody on lo to ask: usable at once
	return lo, address, nil
}
