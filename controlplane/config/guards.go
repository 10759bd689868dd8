package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/dataplane"
)

// guard checks what no key shows by itself: that VIPs are the operator's to
// give, that none has two owners, and that no backend is a VIP.
func (d *decoder) guard(f *File, limits Place, poolsKnown bool) {
	if _, given := f.keys["vip_pools"]; !given && len(f.Services) > 0 {
		d.report(f.Services[0].At(""), `a service needs "vip_pools"`,
			`say which addresses may be VIPs: vip_pools = ["192.0.2.0/24"]`)
		poolsKnown = false
	}
	names := map[string]Position{}
	for _, s := range f.Services {
		if first, twice := names[s.Name]; twice {
			d.report(s.At(""), fmt.Sprintf("service %q is declared twice", s.Name), fmt.Sprintf("the first is at %s", first))
		} else {
			names[s.Name] = s.At("")
		}
		if s.Consul != nil && f.Consul == nil {
			d.report(s.Consul.At(""), fmt.Sprintf("service %q asks Consul, and the file does not say which", s.Name),
				`add a block at the top: consul { address = "http://127.0.0.1:8500" }`)
		}
	}
	own := d.guardVIPs(f, poolsKnown)
	d.guardNAT(f, own)
	for _, s := range f.Services {
		d.guardBackends(f, s, own)
		d.guardProbe(s)
	}
	d.guardLimits(f, limits)
}

// owner is who listens on a VIP, and where the file says so.
type owner struct {
	service string
	vip     Listen
}

// owners are the services that own each address, and each VIP with a prefix.
type owners struct {
	addresses map[netip.Addr]owner
	prefixes  []owner
}

func (o owners) of(addr netip.Addr) (owner, bool) {
	if one, known := o.addresses[addr]; known {
		return one, true
	}
	i := slices.IndexFunc(o.prefixes, func(p owner) bool { return p.vip.Addresses().Contains(addr) })
	if i < 0 {
		return owner{}, false
	}
	return o.prefixes[i], true
}

// guardVIPs gives the services that own each address.
func (d *decoder) guardVIPs(f *File, poolsKnown bool) owners {
	own, vips := owners{addresses: map[netip.Addr]owner{}}, map[string]owner{}
	ranges := map[dataplane.Prefix][]owner{}
	for _, s := range f.Services {
		for _, vip := range s.Listen {
			if first, twice := vips[vip.String()]; twice {
				if first.service != s.Name { // that was said of the service itself
					d.report(vip.Position, fmt.Sprintf("VIP %s has two owners, services %q and %q", vip, first.service, s.Name),
						fmt.Sprintf("the other is at %s; one of them must let go", first.vip.Position))
				}
				continue
			}
			mine := owner{s.Name, vip}
			vips[vip.String()] = mine
			if vip.HostBits > 0 {
				own.prefixes = append(own.prefixes, mine)
			} else if _, known := own.addresses[vip.Addr]; !known {
				own.addresses[vip.Addr] = mine
			}
			if vip.LastPort > 0 {
				d.guardRange(mine, ranges[vip.Prefix()])
				ranges[vip.Prefix()] = append(ranges[vip.Prefix()], mine)
			}
			if poolsKnown && !slices.ContainsFunc(f.VIPPools, func(p netip.Prefix) bool { return within(p, vip.VIP) }) {
				d.report(vip.Position, fmt.Sprintf("VIP %s of service %q lies in none of the vip_pools", vip, s.Name),
					fmt.Sprintf("the pools are %s, at %s", prefixes(f.VIPPools), f.At("vip_pools")))
			}
		}
	}
	return own
}

// guardRange refuses ranges of one prefix that have ports in common: neither would
// be the more specific.
func (d *decoder) guardRange(mine owner, others []owner) {
	for _, other := range others {
		if overlap(mine.vip.VIP, other.vip.VIP) {
			d.report(mine.vip.Position, fmt.Sprintf("VIP %s of service %q shares ports with VIP %s of service %q",
				mine.vip, mine.service, other.vip, other.service),
				fmt.Sprintf("the other is at %s; ranges of one prefix may not overlap", other.vip.Position))
		}
	}
}

func (d *decoder) guardBackends(f *File, s Service, own owners) {
	seen := map[netip.AddrPort]Position{}
	for _, b := range s.Backends {
		at := b.At("")
		who := fmt.Sprintf("backend %s of service %q", b, s.Name)
		if first, twice := seen[s.instance(b)]; twice {
			d.report(at, who+" stands there twice", fmt.Sprintf("the first is at %s; %s", first, s.whyOnce()))
			continue
		}
		seen[s.instance(b)] = at
		if vip, is := own.of(b.Addr); is {
			d.report(at, who+" is a VIP", fmt.Sprintf("service %q listens on it at %s; packets would go round in a circle",
				vip.service, vip.vip.Position))
		} else if i := pool(f, b.Addr); i >= 0 {
			d.report(at, who+" lies in a pool of VIPs", fmt.Sprintf("the pool %s at %s", f.VIPPools[i], f.pools[i]))
		}
		d.guardPort(f, s, b)
	}
}

// guardProbe asks for a port to probe where no VIP tells one.
func (d *decoder) guardProbe(s Service) {
	if s.Health == nil || s.Health.Port != 0 || len(s.Listen) == 0 || s.Listen[0].single() {
		return
	}
	for _, b := range s.Backends {
		if b.Port == 0 {
			d.report(s.Health.At(""), fmt.Sprintf("the health check of service %q has no port to probe", s.Name),
				fmt.Sprintf("VIP %s has many: set port = …, or put a VIP of one port first", s.Listen[0]))
			return
		}
	}
}

// String is the backend as a file writes it.
func (b StaticBackend) String() string {
	if b.Port == 0 {
		return b.Addr.String()
	}
	return netip.AddrPortFrom(b.Addr, b.Port).String()
}

// guardLimits finds what cannot fit before the kernel has to refuse it.
func (d *decoder) guardLimits(f *File, limits Place) {
	var vips, backends, slots uint64
	for _, s := range f.Services {
		for _, vip := range s.Listen {
			vips += entries(vip)
		}
		backends += uint64(len(s.Backends))
		slots += uint64(s.Slots)
	}
	for _, need := range []struct {
		key  string
		have uint64
		most uint32
	}{
		{"services", uint64(len(f.Services)), f.Limits.Services},
		{"vips", vips, f.Limits.VIPs},
		{"backends", backends, f.Limits.Backends - 1}, // index 0 stands for none
		{"slots", slots, f.Limits.Slots},
	} {
		if need.have <= uint64(need.most) {
			continue
		}
		at := limits.At(need.key)
		if at.File == "" {
			at = f.Services[0].At("")
		}
		d.report(at, fmt.Sprintf("the services need %d %s, and the limit is %d", need.have, need.key, need.most),
			fmt.Sprintf("raise it: limits { %s = … }", need.key))
	}
}

// pool is the index of the pool that an address lies in, or -1.
func pool(f *File, addr netip.Addr) int {
	return slices.IndexFunc(f.VIPPools, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func prefixes(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}

// CheckHost compares the file with the host it is meant for: the names of its
// interfaces, its addresses, and the gateways of its routes.
func (f *File) CheckHost(interfaces []string, addresses []netip.Prefix, gateways []netip.Addr) Errors {
	var errs Errors
	for i, name := range f.Interfaces {
		if !slices.Contains(interfaces, name) {
			errs = append(errs, f.Mistake(f.interfaces[i], fmt.Sprintf("this host has no interface %q", name),
				strings.Replace(choose(name, interfaces), "this version knows", "this host has", 1)))
		}
	}
	for i, p := range f.VIPPools {
		for _, own := range addresses {
			if addr := own.Addr().Unmap().WithZone(""); p.Contains(addr) {
				errs = append(errs, f.Mistake(f.pools[i], fmt.Sprintf("the pool %s holds %s, an address of this host", p, addr),
					"a pool is for VIPs alone: choose prefixes that nothing else uses"))
			}
		}
		for _, gateway := range gateways {
			if addr := gateway.Unmap().WithZone(""); p.Contains(addr) {
				errs = append(errs, f.Mistake(f.pools[i], fmt.Sprintf("the pool %s holds %s, a gateway of this host", p, addr),
					"a pool is for VIPs alone: choose prefixes that nothing else uses"))
			}
		}
	}
	return append(errs, f.checkNATSources(addresses)...).tidy()
}
