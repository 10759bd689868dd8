package decap

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

// Facts is what a host is like, as far as planning needs it.
type Facts struct {
	BootID     string
	LoopbackUp bool
	Interfaces []string
	// Addresses are the interfaces that hold an address.
	Addresses map[netip.Addr][]string
	// Local are the prefixes that are this host's by a route to lo.
	Local map[netip.Prefix]bool
	// RoutesBy are the interfaces by which IPv4 routes leave.
	RoutesBy []string
	// WaysOut are the interfaces by which routes of either family leave, as far as
	// frames on them are Ethernet's; not lo.
	WaysOut []string
	// Sysctls are values by path below /proc/sys. One that the host does not
	// have is missing.
	Sysctls map[string]string
}

// Kind tells what a Change is about.
type Kind string

// The kinds, in the order in which they are made: nobody may answer ARP for a
// VIP, and what is decapsulated must find its VIP. They are undone in reverse.
const (
	Sysctl  Kind = "sysctl"
	Address Kind = "address"
	Route   Kind = "route"
	Tunnel  Kind = "program"
)

var kindOrder = []Kind{Sysctl, Address, Route, Tunnel}

// Change is one thing that differs from how the host was.
type Change struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"`             // a path below /proc/sys, an address on lo, a prefix that is routed there, or an interface
	Before string `json:"before,omitempty"` // of a sysctl
	After  string `json:"after,omitempty"`  // of a sysctl; the folder of a program's pins
	Why    string `json:"why,omitempty"`
}

func (c Change) is(other Change) bool { return c.Kind == other.Kind && c.Name == other.Name }

// inEffect tells whether the host is as the change leaves it. What a program
// does cannot be seen here: attaching again brings it up to date.
func (f Facts) inEffect(c Change) bool {
	switch c.Kind {
	case Sysctl:
		return f.Sysctls[c.Name] == c.After
	case Address:
		return f.onLoopback(c.Name)
	case Route:
		prefix, err := netip.ParsePrefix(c.Name)
		return err == nil && f.Local[prefix]
	}
	return false
}

func (f Facts) onLoopback(address string) bool {
	addr, err := netip.ParseAddr(address)
	return err == nil && slices.Contains(f.Addresses[addr], loopback)
}

// without is the host as it would be if the changes had not been made.
func (f Facts) without(changes []Change) Facts {
	f.Sysctls, f.Addresses, f.Local = maps.Clone(f.Sysctls), maps.Clone(f.Addresses), maps.Clone(f.Local)
	for _, c := range changes {
		if !f.inEffect(c) {
			continue
		}
		switch c.Kind {
		case Sysctl:
			f.Sysctls[c.Name] = c.Before
		case Address:
			addr := netip.MustParseAddr(c.Name)
			f.Addresses[addr] = slices.DeleteFunc(slices.Clone(f.Addresses[addr]), func(iface string) bool {
				return iface == loopback
			})
		case Route:
			delete(f.Local, netip.MustParsePrefix(c.Name))
		}
	}
	return f
}

const loopback = "lo"

// conf is the path of an interface's sysctl; family is "ipv4" or "ipv6".
func conf(family, iface, name string) string {
	return "net/" + family + "/conf/" + iface + "/" + name
}

// effective is what the kernel makes of an interface's IPv4 sysctl and that of
// all interfaces: the greater one (ip-sysctl.rst).
func (f Facts) effective(iface, name string) int {
	all, _ := strconv.Atoi(f.Sysctls[conf("ipv4", "all", name)])
	own, _ := strconv.Atoi(f.Sysctls[conf("ipv4", iface, name)])
	return max(all, own)
}

// sysctlsOf are the paths that planning for an interface reads.
func sysctlsOf(iface string) []string {
	paths := []string{conf("ipv6", iface, "disable_ipv6"), conf("ipv6", loopback, "disable_ipv6")}
	for _, name := range []string{"rp_filter", "arp_ignore", "arp_announce"} {
		paths = append(paths, conf("ipv4", "all", name), conf("ipv4", iface, name))
	}
	return paths
}
