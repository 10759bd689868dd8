package doctor

import (
	"fmt"
	"net/netip"
)

const (
	noNeighbour Kind = "neighbour"
	noWay       Kind = "route"
	smallMTU    Kind = "mtu"
)

var wayRules = []rule{
	{[]Kind{noNeighbour, noWay}, findNoWay},
	{[]Kind{smallMTU}, findSmallMTU},
}

// findNoWay says each trouble once, whatever services the backend is of.
func findNoWay(f Facts) (found []Finding) {
	said := map[netip.Addr]bool{}
	for _, w := range f.Ways {
		if w.Problem == "" || said[w.Backend] {
			continue
		}
		said[w.Backend] = true
		finding := Finding{Failure, noWay, w.Backend.String(), w.Problem, "ip route get " + w.Backend.String(), ""}
		down := w.Interface
		if link, there := f.Links[down]; !there || link.Up {
			down = f.downTowards(w.Backend)
		}
		switch {
		case down != "":
			finding.Mend = "ip link set dev " + quote(down) + " up"
			finding.What = "the interface " + down + " is down, by which it would be reached"
		case w.Silent.IsValid():
			finding.Kind = noNeighbour
			finding.Mend = fmt.Sprintf("ip neighbour flush to %s dev %s && ping -c 1 -W 2 %s", w.Silent, quote(w.Interface), w.Silent)
			finding.Advice = "it asks once more: see to that host, its address and its cable"
		}
		found = append(found, finding)
	}
	return found
}

// downTowards is an interface that is down and on the address's segment.
func (h Host) downTowards(addr netip.Addr) string {
	for _, name := range byName(h.Links) {
		for _, p := range h.Links[name].Prefixes {
			if !h.Links[name].Up && p.Contains(addr) {
				return name
			}
		}
	}
	return ""
}

const (
	ethernetMTU = 1500
	leastIPv6   = 1280 // RFC 8200, section 5
)

// findSmallMTU says one thing of each interface, or route with an MTU of its own,
// whatever ways there are by it: what mends it is enough for the largest outer header.
func findSmallMTU(f Facts) (found []Finding) {
	wanted := map[string]int{}
	for _, w := range f.Ways {
		wanted[w.narrowest()] = max(wanted[w.narrowest()], ethernetMTU+w.Overhead)
	}
	said := map[string]bool{}
	for _, tooSmall := range []func(Way) bool{Way.tooSmallForIPv6, Way.tooSmallForEthernet} {
		for _, w := range f.Ways {
			about := w.narrowest()
			if w.Problem != "" || w.Overhead == 0 || said[about] || !tooSmall(w) {
				continue
			}
			said[about] = true
			found = append(found, w.tooSmall(wanted[about]))
		}
	}
	return found
}

// narrowest is what limits the size of packets.
func (w Way) narrowest() string {
	if w.Route != "" {
		return w.Route
	}
	return w.Interface
}

func (w Way) left() int                 { return w.MTU - w.Overhead }
func (w Way) tooSmallForEthernet() bool { return w.left() < ethernetMTU }
func (w Way) tooSmallForIPv6() bool     { return w.IPv6 && w.left() < leastIPv6 }

func (w Way) tooSmall(wanted int) Finding {
	finding := Finding{Level: Warning, Kind: smallMTU, About: w.narrowest(), Mend: fmt.Sprintf("ip link set dev %s mtu %d", quote(w.Interface), wanted)}
	if w.Route != "" {
		finding.Mend = fmt.Sprintf("ip route change %s mtu %d", w.Route, wanted)
	}
	what := "a full packet of a client has %d bytes"
	needs := ethernetMTU
	if w.tooSmallForIPv6() {
		finding.Level, what, needs = Failure, "IPv6 needs %d bytes", leastIPv6
	}
	finding.What = fmt.Sprintf(what+", and of an MTU of %d the outer headers leave %d", needs, w.MTU, w.left())
	finding.Advice = "switches and backends must take as much; where they cannot, have the backends ask for smaller segments, as pointsman doctor --backend says there"
	return finding
}
