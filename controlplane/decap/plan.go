package decap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Plan says what a host needs that it does not have, in the order in which to
// do it. A program is always part of it: attaching again brings it up to date.
// Errors are all that is wrong, not the first.
func Plan(f Facts, o Options) (changes []Change, warnings []string, err error) {
	if err := errors.Join(checkOptions(o), checkHost(f, o)); err != nil {
		return nil, nil, err
	}
	if slices.ContainsFunc(o.VIPs, func(vip netip.Prefix) bool { return vip.Addr().Is4() }) {
		changes = append(changes, planARP(f, o.Interface)...)
		changes = append(changes, planReversePath(f, o.Interface)...)
	}
	addresses, warnings := planAddresses(f, o.VIPs)
	changes = append(changes, addresses...)
	changes = append(changes, planRoutes(f, o.VIPs)...)
	if !o.NoProgram {
		changes = append(changes, Change{Kind: Tunnel, Name: o.Interface, After: o.PinDir, Why: "takes the balancer's packets out of their tunnel"})
	}
	return changes, warnings, nil
}

func checkOptions(o Options) error {
	var mistakes []error
	if len(o.VIPs) == 0 {
		mistakes = append(mistakes, errors.New("no VIP is given"))
	}
	if len(o.From) == 0 && !o.NoProgram {
		mistakes = append(mistakes, errors.New("no address of a balancer is given: without one anybody could send packets past the network's filters"))
	}
	for _, vip := range o.VIPs {
		addr := vip.Addr()
		if !vip.IsValid() || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() || addr.IsLinkLocalUnicast() || addr.Is4In6() {
			mistakes = append(mistakes, fmt.Errorf("%s cannot be a VIP: only global unicast addresses can", written(vip)))
		}
	}
	return errors.Join(append(mistakes, checkMappings(o)...)...)
}

func checkHost(f Facts, o Options) error {
	var mistakes []error
	if !slices.Contains(f.Interfaces, o.Interface) {
		mistakes = append(mistakes, fmt.Errorf("there is no interface %s; there are %v", o.Interface, f.Interfaces))
	}
	for _, name := range o.Out {
		if !slices.Contains(f.Interfaces, name) {
			mistakes = append(mistakes, fmt.Errorf("there is no interface %s for answers to leave by; there are %v", name, f.Interfaces))
		}
	}
	if o.Interface == loopback {
		mistakes = append(mistakes, errors.New("the balancer's packets do not arrive on lo: name the interface they arrive on"))
	}
	if !f.LoopbackUp {
		mistakes = append(mistakes, errors.New("lo is down: `ip link set lo up` first"))
	}
	if !slices.ContainsFunc(o.VIPs, isIPv6) {
		return errors.Join(mistakes...)
	}
	for _, iface := range []string{o.Interface, loopback} {
		path := conf("ipv6", iface, "disable_ipv6")
		if value, known := f.Sysctls[path]; known && value != "0" {
			mistakes = append(mistakes, fmt.Errorf("IPv6 is switched off on %s: no IPv6 VIP works there while %s is %s", iface, path, value))
		}
	}
	return errors.Join(mistakes...)
}

func isIPv6(vip netip.Prefix) bool { return vip.Addr().Is6() }

// planARP keeps this host from claiming the VIP on its segment, where it
// belongs to the balancer or a router. IPv6 needs nothing of the kind: a
// neighbour solicitation is answered only for addresses of the interface that
// it arrives on.
func planARP(f Facts, iface string) []Change {
	var changes []Change
	if f.effective(iface, "arp_ignore") < 1 {
		changes = append(changes, f.set(iface, "arp_ignore", "1", "answer ARP only for the interface's own addresses, not for VIPs on lo"))
	}
	if f.effective(iface, "arp_announce") < 2 {
		changes = append(changes, f.set(iface, "arp_announce", "2", "never ask by ARP in a VIP's name"))
	}
	return changes
}

// planReversePath loosens a strict check (1) where it can drop: a client's
// packet arrives on iface, but the route to the client may leave elsewhere.
// The greater value counts, so 2 on the interface prevails over 1 on all.
func planReversePath(f Facts, iface string) []Change {
	elsewhere := func(by string) bool { return by != iface && by != loopback }
	if f.effective(iface, "rp_filter") != 1 || !slices.ContainsFunc(f.RoutesBy, elsewhere) {
		return nil
	}
	return []Change{f.set(iface, "rp_filter", "2", "let packets in from clients whose route leaves by another interface")}
}

func (f Facts) set(iface, name, value, why string) Change {
	path := conf("ipv4", iface, name)
	return Change{Kind: Sysctl, Name: path, Before: f.Sysctls[path], After: value, Why: why}
}

// planAddresses leaves alone a VIP that the host has already, on whatever
// interface: it is somebody else's, and stays when we go.
func planAddresses(f Facts, vips []netip.Prefix) (changes []Change, warnings []string) {
	for _, prefix := range distinct(vips) {
		if !prefix.IsSingleIP() {
			continue
		}
		vip := prefix.Addr()
		held := f.Addresses[vip]
		if slices.Contains(held, loopback) {
			continue
		}
		if len(held) > 0 {
			warnings = append(warnings, fmt.Sprintf("%s is an address of %s already and stays there: the segment will be told that it lives here", vip, held[0]))
			continue
		}
		changes = append(changes, Change{Kind: Address, Name: vip.String(), Why: "this host answers for the VIP"})
	}
	return changes, warnings
}

// planRoutes makes all addresses of a prefix this host's, by a route: no address
// could do that for IPv6, and for IPv4 it comes to the same. Nothing chooses an
// address that no interface has as a source by itself.
func planRoutes(f Facts, vips []netip.Prefix) (changes []Change) {
	for _, prefix := range distinct(vips) {
		if !prefix.IsSingleIP() && !f.Local[prefix] {
			changes = append(changes, Change{Kind: Route, Name: prefix.String(), Why: "this host answers for all of the VIP's addresses"})
		}
	}
	return changes
}

// distinct are the VIPs in order, each once.
func distinct(vips []netip.Prefix) []netip.Prefix {
	return slices.Compact(slices.SortedFunc(slices.Values(vips), netip.Prefix.Compare))
}

// written is a VIP as the command line has it.
func written(vip netip.Prefix) string {
	if vip.IsSingleIP() {
		return vip.Addr().String()
	}
	return vip.String()
}
