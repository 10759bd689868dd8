package controlplane

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/controlplane/config"
)

// checkHost finds what in the file does not go with this host.
func checkHost(file *config.File) (config.Errors, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing this host's interfaces: %w", err)
	}
	var interfaces []string
	for _, link := range links {
		interfaces = append(interfaces, link.Attrs().Name)
	}
	addresses, err := hostAddresses()
	if err != nil {
		return nil, err
	}
	gateways, err := hostGateways()
	if err != nil {
		return nil, err
	}
	return file.CheckHost(interfaces, addresses, gateways), nil
}

func hostAddresses() ([]netip.Prefix, error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing this host's addresses: %w", err)
	}
	var all []netip.Prefix
	for _, address := range list {
		if addr, ok := netip.AddrFromSlice(address.IP); ok {
			ones, _ := address.Mask.Size()
			all = append(all, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return all, nil
}

func hostGateways() ([]netip.Addr, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing this host's routes: %w", err)
	}
	var all []netip.Addr
	for _, route := range routes {
		for _, via := range append([]*netlink.NexthopInfo{{Gw: route.Gw}}, route.MultiPath...) {
			if addr, ok := netip.AddrFromSlice(via.Gw); ok {
				all = append(all, addr.Unmap())
			}
		}
	}
	return all, nil
}
