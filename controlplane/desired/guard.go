package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/dataplane"
)

// guard holds what no backend may be, for all services together.
type guard struct {
	vips  map[netip.Addr]string // own addresses, and whose they are
	wide  []wideOwner
	pools []netip.Prefix
	taken []dataplane.VIP // all there are
}

// wideOwner is a prefix of own addresses, and whose they are.
type wideOwner struct {
	addresses netip.Prefix
	service   string
}

func newGuard(in Input) guard {
	g := guard{vips: make(map[netip.Addr]string), pools: in.VIPPools}
	for _, s := range in.Services {
		g.taken = append(g.taken, s.VIPs...)
		for _, vip := range s.VIPs {
			if vip.HostBits > 0 {
				g.wide = append(g.wide, wideOwner{vip.Addresses(), s.Name})
				continue
			}
			// Of several owners the first by name is shown, so that the order
			// of the services does not matter.
			if owner, taken := g.vips[vip.Addr]; !taken || s.Name < owner {
				g.vips[vip.Addr] = s.Name
			}
		}
	}
	slices.SortFunc(g.wide, func(a, b wideOwner) int { return strings.Compare(a.service, b.service) })
	return g
}

// owner is the service that has a VIP of the address.
func (g guard) owner(addr netip.Addr) (service string, own bool) {
	if service, own = g.vips[addr]; own {
		return service, true
	}
	for _, w := range g.wide {
		if w.addresses.Contains(addr) {
			return w.service, true
		}
	}
	return "", false
}

// objection says why the instance can never be a backend of the service, in a word and
// in a sentence, or "". Whoever can register a service in Consul can put any address
// there, so every instance passes here, whatever its source.
func (g guard) objection(s Service, i Instance) (kind Rejection, text string) {
	if i.Rejected != "" {
		return BadRegistration, i.Rejected
	}
	if kind, text := g.forbidden(i.Addr); text != "" {
		return kind, text
	}
	if len(s.AllowedBackends) > 0 && !inside(s.AllowedBackends, i.Addr) {
		return NotAllowed, fmt.Sprintf("%s is outside allowed_backends", i.Addr)
	}
	if s.changesPort() {
		if i.Port == 0 && !s.hasDefaultPort() {
			return BadPort, fmt.Sprintf("has no port, and %s needs one where the VIPs have several", s.Forward)
		}
		return "", ""
	}
	if i.Port != 0 && !listensOn(s, i.Port) {
		return BadPort, g.objectionToPort(s, i.Port)
	}
	return "", ""
}

// objectionToPort says why no instance can listen on another port than the VIP's, or "".
func (g guard) objectionToPort(s Service, port uint16) string {
	if !s.PortMapping {
		return fmt.Sprintf("listens on port %d, but %s cannot change the VIP's port %s", port, s.Forward, ports(s))
	}
	for _, vip := range s.VIPs {
		local := dataplane.VIP{Addr: vip.Addr, Port: port, Protocol: vip.Protocol}
		if taken := g.covering(local); taken != "" {
			return fmt.Sprintf("listens on port %d, which is one of %s: what is for that could not be told from what is mapped", port, taken)
		}
	}
	return ""
}

// covering names the VIP that covers another, or "": of several the first as they are
// written, so that the order of the services does not matter. They are compared here
// and not sorted beforehand, since nearly every decision goes without.
func (g guard) covering(local dataplane.VIP) (first string) {
	for _, taken := range g.taken {
		if !taken.Covers(local) {
			continue
		}
		if text := taken.String(); first == "" || text < first {
			first = text
		}
	}
	return first
}

// forbidden names the address if it is of a kind that is never a backend.
func (g guard) forbidden(addr netip.Addr) (kind Rejection, text string) {
	switch {
	case !addr.IsValid():
		return BadAddress, "has no address"
	case addr.IsUnspecified():
		return BadAddress, fmt.Sprintf("%s is the unspecified address", addr)
	case addr.IsLoopback():
		return BadAddress, fmt.Sprintf("%s is a loopback address", addr)
	case addr.IsMulticast():
		return BadAddress, fmt.Sprintf("%s is a multicast address", addr)
	case addr.IsLinkLocalUnicast():
		return BadAddress, fmt.Sprintf("%s is a link-local address", addr)
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return BadAddress, fmt.Sprintf("%s is the broadcast address", addr)
	}
	if owner, own := g.owner(addr); own {
		return VIPAddress, fmt.Sprintf("%s is a VIP of service %s", addr, owner)
	}
	if inside(g.pools, addr) {
		return VIPAddress, fmt.Sprintf("%s is inside vip_pools", addr)
	}
	return "", ""
}

func inside(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func listensOn(s Service, port uint16) bool {
	return slices.ContainsFunc(s.VIPs, func(v dataplane.VIP) bool { return v.HasPort(port) })
}

// ports lists the service's ports: "443", or "80 or 8000-8999".
func ports(s Service) string {
	var all [][2]uint16
	for _, vip := range s.VIPs {
		first, last := vip.Ports()
		all = append(all, [2]uint16{first, last})
	}
	slices.SortFunc(all, func(a, b [2]uint16) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	text := ""
	for i, ports := range slices.Compact(all) {
		if i > 0 {
			text += " or "
		}
		text += fmt.Sprint(ports[0])
		if ports[1] > ports[0] {
			text += fmt.Sprintf("-%d", ports[1])
		}
	}
	return text
}
