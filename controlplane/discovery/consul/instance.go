package consul

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Status is Consul's word about an instance.
type Status int

// The statuses, from best to worst. Maintenance is an operator's wish to drain.
const (
	Passing Status = iota
	Warning
	Maintenance
	Critical
)

func (s Status) String() string {
	switch s {
	case Passing:
		return "passing"
	case Warning:
		return "warning"
	case Maintenance:
		return "maintenance"
	}
	return "critical"
}

// MaxWeight is the greatest weight of an instance; Consul allows 65535.
const MaxWeight = 256

// Instance is one registration of a service, as facts. What they mean for the
// service's backends is not decided here.
type Instance struct {
	Node string // the node's name; with ID it names the instance
	ID   string // the service id, unique on its node
	Addr netip.Addr
	Port uint16

	Status        Status
	WeightPassing int // 0 to MaxWeight; 0 is drain
	WeightWarning int

	Rejected string // why it cannot be a backend, as a sentence; empty: it can
}

// key names an instance through changes of everything else.
type key struct{ node, id string }

func (i Instance) key() key { return key{i.Node, i.ID} }

// resolved is what DNS said of a name.
type resolved struct {
	addr netip.Addr
	err  error
}

// normalise turns Consul's answer into instances sorted by node and id, so that
// equal answers are equal values. names holds what DNS said of each hostname.
func normalise(q Query, entries []*api.ServiceEntry, names map[string]resolved) ([]Instance, error) {
	out := make([]Instance, 0, len(entries))
	for i, entry := range entries {
		if entry == nil || entry.Service == nil || entry.Node == nil {
			return nil, fault(BadAnswer, "Consul's answer for %s lacks the node or service of entry %d", q, i)
		}
		out = append(out, instanceOf(q, entry, names))
	}
	sortInstances(out)
	return out, nil
}

func sortInstances(list []Instance) {
	slices.SortFunc(list, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.ID, b.ID))
	})
}

func instanceOf(q Query, entry *api.ServiceEntry, names map[string]resolved) Instance {
	in := Instance{
		Node:          entry.Node.Node,
		ID:            entry.Service.ID,
		Status:        statusOf(entry.Checks, q.IgnoreChecks),
		WeightPassing: clampWeight(entry.Service.Weights.Passing),
		WeightWarning: clampWeight(entry.Service.Weights.Warning),
	}
	place := placeOf(q, entry)
	addr, err := netip.ParseAddr(place.host)
	switch {
	case place.problem != "":
		in.Rejected = place.problem
	case err == nil && addr.Zone() != "":
		in.Rejected = fmt.Sprintf("address %s has a zone, which means nothing to other hosts", place.host)
	case err == nil:
		in.Addr = addr.Unmap()
	case place.host == "":
		in.Rejected = "neither the service nor its node has an address"
	case !q.Resolve:
		in.Rejected = fmt.Sprintf("address %q is a name; register an address or set resolve = true", place.host)
	default:
		found := names[place.host]
		in.Addr = found.addr
		if found.err != nil {
			in.Rejected = fmt.Sprintf("address %q does not resolve: %v", place.host, found.err)
		}
	}
	switch {
	case in.Rejected != "":
	case place.port == 0:
		in.Rejected = "port is 0" + socketHint(entry.Service)
	case place.port < 0 || place.port > 65535:
		in.Rejected = fmt.Sprintf("port %d is outside 1 to 65535", place.port)
	default:
		in.Port = uint16(place.port)
	}
	return in
}

func socketHint(s *api.AgentService) string {
	if s.SocketPath == "" {
		return ""
	}
	return "; the instance listens on the unix socket " + s.SocketPath
}

// place is where an instance says it can be reached.
type place struct {
	host    string
	port    int
	problem string
}

// placeOf follows Consul's own order: the tagged address with its own port, else
// the service's address, else the node's. An empty service address is normal;
// the node's tagged address then stands for it.
func placeOf(q Query, entry *api.ServiceEntry) place {
	at := place{host: entry.Service.Address, port: entry.Service.DefaultPort()}
	if tagged, ok := entry.Service.TaggedAddresses[q.TaggedAddress]; ok && q.TaggedAddress != "" {
		at = place{host: tagged.Address, port: tagged.Port}
	} else if at.host == "" {
		at.host = or(entry.Node.TaggedAddresses[q.TaggedAddress], entry.Node.Address)
	}
	if q.PortName == "" {
		return at
	}
	for _, port := range entry.Service.Ports {
		if port.Name == q.PortName {
			at.port = port.Port
			return at
		}
	}
	at.problem = fmt.Sprintf("it has no port named %q", q.PortName)
	return at
}

// statusOf is the worst word about an instance. It covers the node's checks too,
// so a dead node takes its instances along. No checks is passing, and a status
// that Consul has yet to invent is critical. A check that fails by itself
// outweighs maintenance: draining towards a dead server would only lose packets.
func statusOf(checks api.HealthChecks, ignore []string) Status {
	worst := Passing
	for _, check := range checks {
		if check == nil || slices.Contains(ignore, check.CheckID) || slices.Contains(ignore, check.Name) {
			continue
		}
		worst = max(worst, statusOfCheck(check))
	}
	return worst
}

func statusOfCheck(check *api.HealthCheck) Status {
	if check.CheckID == api.NodeMaint || strings.HasPrefix(check.CheckID, api.ServiceMaintPrefix) {
		return Maintenance
	}
	switch check.Status {
	case api.HealthPassing:
		return Passing
	case api.HealthWarning:
		return Warning
	}
	return Critical
}

func clampWeight(w int) int { return min(max(w, 0), MaxWeight) }

// hostnames are the places of entries that are names rather than addresses.
func hostnames(q Query, entries []*api.ServiceEntry) []string {
	var names []string
	for _, entry := range entries {
		if entry == nil || entry.Service == nil || entry.Node == nil {
			continue
		}
		host := placeOf(q, entry).host
		if _, err := netip.ParseAddr(host); err != nil && host != "" {
			names = append(names, host)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
