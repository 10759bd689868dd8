package controlplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/controlplane/doctor"
	"github.com/pointsman/pointsman/controlplane/nexthop"
)

// lookAtBackend finds out for which VIPs this host is to answer: those that its
// operator names, those of the file's services with an instance here, and those that
// the program knows.
func (e *examination) lookAtBackend() error {
	wanted := *e.Backend
	if wanted.Interface == "" {
		iface, err := decap.DefaultInterface()
		if err != nil {
			return err
		}
		wanted.Interface = iface
	}
	e.facts.Interfaces = []string{wanted.Interface}
	if _, there := e.facts.Links[wanted.Interface]; !there {
		e.facts.Backend = &doctor.Backend{Loopback: true, VIPs: wanted.VIPs, Interface: wanted.Interface}
		return nil
	}
	known, err := e.Kernel.Decap(wanted.Interface)
	looked := err == nil
	if !looked {
		e.missed("%v: the program on %s", err, wanted.Interface)
	}
	own, err := hostAddresses()
	if err != nil {
		return err
	}
	if e.file != nil {
		needs := needsOf(e.file, e.instances, own, known.Mappings)
		wanted.VIPs = append(wanted.VIPs, needs.vips...)
		wanted.Mappings, _ = decap.Unambiguous(needs.mappings, needs.taken)
	}
	wanted.VIPs = append(wanted.VIPs, known.VIPs...)
	slices.SortFunc(wanted.VIPs, netip.Prefix.Compare)
	wanted.VIPs = slices.Compact(wanted.VIPs)
	if len(wanted.From) == 0 {
		wanted.From = known.From
	}
	lack, err := decap.Lacks(wanted)
	if err != nil {
		return err
	}
	e.facts.Backend = e.backend(wanted, known, lack)
	b := e.facts.Backend
	b.NeedsDecap = !wanted.NoProgram && looked && len(b.Tunnels) == 0 && (e.file == nil || e.overheadHere(wanted, own) > 0)
	if !wanted.NoProgram || len(b.Tunnels) > 0 {
		b.Defaults, err = e.defaults(wanted, e.overheadHere(wanted, own))
	}
	return err
}

func (e *examination) backend(wanted decap.Options, known DecapKnown, lack decap.Lack) *doctor.Backend {
	b := &doctor.Backend{
		Interface: wanted.Interface, VIPs: wanted.VIPs, Loopback: !lack.Loopback, NoIPv6: lack.NoIPv6, Elsewhere: lack.Elsewhere,
		Attached: known.Mode, Takes: known.VIPs, Tunnels: e.tunnels(wanted.Interface),
	}
	for _, c := range lack.Changes {
		b.Missing = append(b.Missing, doctor.Change{Kind: string(c.Kind), Name: c.Name, Value: c.After, Why: c.Why})
	}
	for _, p := range wanted.From {
		text := p.String()
		if p.IsSingleIP() {
			text = p.Addr().String()
		}
		b.From = append(b.From, text)
	}
	for _, m := range wanted.Mappings {
		text := fmt.Sprintf("%s=%d", m.Asked(), m.Local)
		b.Mappings = append(b.Mappings, text)
		if !slices.Contains(known.Mappings, m) {
			b.Unmapped = append(b.Unmapped, text)
		}
	}
	b.Mappings, b.Unmapped = slices.Compact(b.Mappings), slices.Compact(b.Unmapped)
	return b
}

// tunnels are the kernel's devices by which IPv4 packets come in.
func (e *examination) tunnels(iface string) (all []doctor.Tunnel) {
	own := ""
	for _, p := range e.facts.Links[iface].Prefixes {
		if p.Addr().Is4() && own == "" {
			own = p.Addr().String()
		}
	}
	for name, link := range e.facts.Links {
		if link.Up && (link.Kind == "ipip" || link.Kind == "ip6tnl") {
			all = append(all, doctor.Tunnel{Name: name, Filter: e.facts.ReversePath(name), Local: own,
				Address: slices.ContainsFunc(link.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() })})
		}
	}
	slices.SortFunc(all, func(a, b doctor.Tunnel) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// overheadHere is the largest of what packets come in. Where no file tells, it is
// that of IP in IP.
func (e *examination) overheadHere(wanted decap.Options, own []netip.Prefix) (most int) {
	if e.file == nil {
		if slices.ContainsFunc(wanted.From, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
			return 40
		}
		return 20
	}
	for _, s := range e.file.Services {
		for _, i := range e.instances[s.Name] {
			if i.Rejected == "" && slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr().Unmap() == i.Addr }) {
				most = max(most, overheadOf(s, i))
			}
		}
	}
	return most
}

// defaults are the routes by which answers leave, for the families of the VIPs.
func (e *examination) defaults(wanted decap.Options, overhead int) (all []doctor.Default, err error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		is6 := family == netlink.FAMILY_V6
		if !slices.ContainsFunc(wanted.VIPs, func(p netip.Prefix) bool { return p.Addr().Is6() == is6 }) {
			continue
		}
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		if err != nil {
			return nil, fmt.Errorf("listing default routes: %w", err)
		}
		for _, route := range routes {
			device, err := netlink.LinkByIndex(route.LinkIndex)
			if err != nil || len(route.MultiPath) > 0 || route.Type != unix.RTN_UNICAST {
				continue // several ways at once are for their operator to set
			}
			mtu := device.Attrs().MTU
			if 0 < route.MTU && route.MTU < mtu {
				mtu = route.MTU
			}
			all = append(all, doctor.Default{IPv6: is6, Route: nexthop.RouteWords(route, device.Attrs().Name),
				MTU: mtu, Segment: route.AdvMSS, Overhead: overhead})
		}
	}
	return all, nil
}
