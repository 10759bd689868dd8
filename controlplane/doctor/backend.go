package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	noVIPs       Kind = "no-vips"
	downLoopback Kind = "lo-down"
	noIPv6       Kind = "ipv6-off"
	answersARP   Kind = "arp-ignore"
	asksARP      Kind = "arp-announce"
	strictPath   Kind = "rp-filter"
	missingVIP   Kind = "vip-missing"
	misplacedVIP Kind = "vip-elsewhere"
	noDecap      Kind = "decap"
	unknownVIP   Kind = "decap-vip"
	unmapped     Kind = "decap-mapping"
	tunnelFilter Kind = "tunnel-rp-filter"
	bareTunnel   Kind = "tunnel-address"
	largeSegment Kind = "mss"
)

var backendRules = []rule{
	{[]Kind{noVIPs}, onBackend(findNoVIPs)},
	{[]Kind{downLoopback}, onBackend(findDownLoopback)},
	{[]Kind{noIPv6}, onBackend(findNoIPv6)},
	{[]Kind{noDecap, unknownVIP, unmapped}, onBackend(findDecap)},
	{[]Kind{answersARP, asksARP, strictPath, missingVIP}, onBackend(findMissing)},
	{[]Kind{misplacedVIP}, onBackend(findMisplaced)},
	{[]Kind{tunnelFilter, bareTunnel}, onBackend(findTunnels)},
	{[]Kind{largeSegment}, onBackend(findLargeSegments)},
}

func onBackend(find func(Facts, Backend) []Finding) func(Facts) []Finding {
	return func(f Facts) []Finding {
		if f.Backend == nil {
			return nil
		}
		return find(f, *f.Backend)
	}
}

func findNoVIPs(f Facts, b Backend) []Finding {
	if len(b.VIPs) > 0 {
		return nil
	}
	return []Finding{{Failure, noVIPs, b.Interface, "nothing says which VIPs this host answers for: no --vip, no service of the file with an instance here, no program that knows some",
		f.run("decap") + " --vip VIP --from BALANCER", "put in the VIPs of the services that this host serves, and the balancers' addresses"}}
}

func findDownLoopback(_ Facts, b Backend) []Finding {
	if b.Loopback {
		return nil
	}
	return []Finding{{Failure, downLoopback, "lo", "it is down, and VIPs are its addresses", "ip link set dev lo up", ""}}
}

func findNoIPv6(_ Facts, b Backend) (found []Finding) {
	for _, name := range b.NoIPv6 {
		found = append(found, Finding{Failure, noIPv6, name, "IPv6 is switched off there, and no IPv6 VIP works", "sysctl -w net.ipv6.conf." + dotted(name) + ".disable_ipv6=0", ""})
	}
	return found
}

// dotted is an interface's name in that of a sysctl, where dots and slashes trade places.
func dotted(name string) string { return strings.ReplaceAll(name, ".", "/") }

var sysctlKinds = map[string]Kind{"arp_ignore": answersARP, "arp_announce": asksARP, "rp_filter": strictPath}

func findMissing(f Facts, b Backend) (found []Finding) {
	for _, c := range b.Missing {
		switch c.Kind {
		case "sysctl":
			parts := strings.Split(c.Name, "/")
			name, iface := parts[len(parts)-1], parts[len(parts)-2]
			sysctl := fmt.Sprintf("net.ipv4.conf.%s.%s", dotted(iface), name)
			found = append(found, Finding{Failure, sysctlKinds[name], sysctl,
				fmt.Sprintf("it is %d, and must be %s: %s", f.number(c.Name), c.Value, c.Why), fmt.Sprintf("sysctl -w %s=%s", sysctl, c.Value), ""})
		case "address":
			found = append(found, Finding{Failure, missingVIP, c.Name, "the VIP is no address of this host, which drops packets to it", addToLoopback(c.Name), ""})
		case "route":
			found = append(found, Finding{Failure, missingVIP, c.Name, "the VIP's addresses are not this host's, which drops packets to them", "ip route add local " + c.Name + " dev lo", ""})
		}
	}
	return found
}

// addToLoopback keeps the address from ever being the source of the host's own
// connections.
func addToLoopback(vip string) string {
	if addr, err := netip.ParseAddr(vip); err == nil && addr.Is6() {
		return "ip address add " + vip + "/128 dev lo nodad preferred_lft 0"
	}
	return "ip address add " + vip + "/32 dev lo scope host"
}

func findMisplaced(f Facts, b Backend) (found []Finding) {
	for _, vip := range byName(b.Elsewhere) {
		iface := b.Elsewhere[vip]
		full := vip
		for _, p := range f.Links[iface].Prefixes {
			if p.Addr().String() == vip {
				full = p.String()
			}
		}
		found = append(found, Finding{Failure, misplacedVIP, vip, "the VIP is an address of " + iface + ": this host claims it on the segment, where it is the balancer's",
			fmt.Sprintf("ip address del %s dev %s && %s", full, quote(iface), addToLoopback(vip)), ""})
	}
	return found
}

// findDecap gives one command for all: it also does what else is missing for the VIPs.
func findDecap(f Facts, b Backend) (found []Finding) {
	if len(b.VIPs) == 0 {
		return nil
	}
	mend, advice := f.decap(b), ""
	if len(b.From) == 0 {
		advice = "put in the balancers' addresses"
	}
	if b.Attached == "" {
		if b.NeedsDecap {
			found = append(found, Finding{Failure, noDecap, b.Interface, "the program that takes packets out of their tunnel is not attached, and no device of the kernel does it", mend, advice})
		}
		return found
	}
	for _, vip := range b.VIPs {
		if vip.IsSingleIP() && !slices.Contains(b.Takes, vip) {
			found = append(found, Finding{Failure, unknownVIP, written(vip), "the program does not know the VIP, and leaves its packets in their tunnel", mend, advice})
		}
	}
	for _, mapping := range b.Unmapped {
		found = append(found, Finding{Failure, unmapped, mapping, "an instance listens on another port than the VIP's, and the program does not map it", mend, advice})
	}
	return found
}

func (f Facts) decap(b Backend) string {
	line := f.run("decap") + " --interface " + quote(b.Interface)
	for _, vip := range b.VIPs {
		line += " --vip " + written(vip)
	}
	from := b.From
	if len(from) == 0 {
		from = []string{"BALANCER"}
	}
	for _, balancer := range from {
		line += " --from " + balancer
	}
	for _, mapping := range b.Mappings {
		line += " --map " + mapping
	}
	return line
}

func written(vip netip.Prefix) string {
	if vip.IsSingleIP() {
		return vip.Addr().String()
	}
	return vip.String()
}

func findTunnels(_ Facts, b Backend) (found []Finding) {
	for _, t := range b.Tunnels {
		if t.Filter == 1 {
			sysctl := "net.ipv4.conf." + dotted(t.Name) + ".rp_filter"
			found = append(found, Finding{Failure, tunnelFilter, sysctl, "it is 1, and drops clients' packets, which come in here while answers leave elsewhere", "sysctl -w " + sysctl + "=2", ""})
		}
		if t.Filter != 0 && !t.Address && t.Local != "" {
			found = append(found, Finding{Failure, bareTunnel, t.Name, "it has no IPv4 address, and reverse path filtering then drops all IPv4 packets of it", "ip address add " + t.Local + "/32 dev " + quote(t.Name), ""})
		}
	}
	return found
}

// Headers of a segment: TCP's, and IP's by family.
const (
	headers4 = 20 + 20
	headers6 = 40 + 20
)

func findLargeSegments(_ Facts, b Backend) (found []Finding) {
	for _, d := range b.Defaults {
		headers, tool := headers4, "ip"
		if d.IPv6 {
			headers, tool = headers6, "ip -6"
		}
		most := d.MTU - d.Overhead - headers
		if d.Overhead == 0 || d.MTU >= ethernetMTU+d.Overhead || d.Segment > 0 && d.Segment <= most {
			continue
		}
		found = append(found, Finding{Warning, largeSegment, d.Route,
			fmt.Sprintf("clients are asked for segments that fit an MTU of %d, and the outer headers take %d of it: the balancer answers the first full packets by ICMP, and clients that do not get it hang", d.MTU, d.Overhead),
			fmt.Sprintf("%s route change %s advmss %d", tool, d.Route, most), "or give the segment between balancers and backends a larger MTU"})
	}
	return found
}
