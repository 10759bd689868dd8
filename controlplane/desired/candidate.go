package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Candidate is an instance that no rule forbids: worth a probe and a next hop.
type Candidate struct {
	Key  Key
	Addr netip.Addr
}

// Candidates are the candidates of the services that were heard of, whether they
// serve or not. An address that must never be a backend is not probed either.
func Candidates(in Input) []Candidate {
	var all []Candidate
	guard := newGuard(in)
	for _, s := range in.Services {
		if in.Heard != nil && !in.Heard[s.Name] {
			continue
		}
		for _, b := range candidates(guard, s, in.Views[s.Name].Instances) {
			if b.State != BackendRejected {
				all = append(all, Candidate{Key: probeKey(s, b.BackendReport), Addr: b.Addr})
			}
		}
	}
	return all
}

// probeKey is what the probes of a backend are filed under.
func probeKey(s Service, b BackendReport) Key {
	return Key{Service: s.Name, Addr: b.Addr, Port: cmp.Or(s.ProbePort, b.Port)}
}

// candidates are the instances of a view, each once, sorted by identity. Those
// that can never be backends of the service are rejected already.
func candidates(guard guard, s Service, instances []Instance) []backend {
	all := make([]backend, 0, len(instances))
	for _, instance := range instances {
		instance.Addr = instance.Addr.Unmap()
		all = append(all, newBackend(s, instance))
	}
	slices.SortFunc(all, compareCandidates)
	all = slices.CompactFunc(all, func(a, b backend) bool {
		return compareIdentity(a.BackendReport, b.BackendReport) == 0
	})
	speaker := make(map[dataplane.ID]*backend, len(all))
	for i := range all {
		b := &all[i]
		if kind, text := guard.objection(s, b.facts); text != "" {
			b.State, b.Rejection, b.Reason = BackendRejected, kind, text
			continue
		}
		b.Key = s.identity(*b)
		// A forgotten registration of the same address must not take the
		// living one out, so the better status speaks for the address.
		rival, taken := speaker[b.Key]
		switch {
		case !taken:
			speaker[b.Key] = b
		case rival.facts.Status < b.facts.Status:
			speaker[b.Key] = b
			rival.rejectDuplicate(s, *b)
		default:
			b.rejectDuplicate(s, *rival)
		}
	}
	return all
}

func newBackend(s Service, facts Instance) backend {
	b := backend{facts: facts}
	b.Source, b.ID, b.Node, b.Addr, b.Port = facts.Source, facts.ID, facts.Node, facts.Addr, facts.Port
	if b.Port == 0 && facts.Rejected == "" && s.hasDefaultPort() {
		b.Port = s.VIPs[0].Port
	}
	return b
}

// changesPort tells whether backends may listen on other ports than the VIPs'.
func (s Service) changesPort() bool { return s.Forward == dataplane.NAT }

// hasDefaultPort tells whether the first VIP says which port a backend has that
// names none: where ports are changed, all of them must agree.
func (s Service) hasDefaultPort() bool {
	if len(s.VIPs) == 0 || s.VIPs[0].LastPort != 0 {
		return false
	}
	return !s.changesPort() || !slices.ContainsFunc(s.VIPs, func(v dataplane.VIP) bool { return v.LastPort != 0 || v.Port != s.VIPs[0].Port })
}

// identity is what tells a backend from the service's others on its way there.
// IP in IP names no port: two ports of one host are one backend, which maps the
// VIP's to either. So is a host on the VIP's own port under GUE, whatever it
// calls that. Under nat the port counts always.
func (s Service) identity(b backend) dataplane.ID {
	id := dataplane.ID{Addr: b.Addr}
	if s.changesPort() || s.PortMapping && s.Forward == dataplane.GUE && !listensOn(s, b.Port) {
		id.Port = b.Port
	}
	return id
}

func (b *backend) rejectDuplicate(s Service, of backend) {
	name := of.ID
	if name == "" {
		name = netip.AddrPortFrom(of.Addr, of.Port).String()
	}
	b.State, b.Rejection, b.Key = BackendRejected, Duplicate, dataplane.ID{}
	if s.PortMapping && b.Port != of.Port {
		b.Reason = fmt.Sprintf("listens on port %d beside %s on %d of the same host, and nothing under %s tells them apart: gue does", b.Port, name, of.Port, s.Forward)
		return
	}
	b.Reason = fmt.Sprintf("registered twice: %s is a backend already, as %s", of.Key, name)
}

// compareCandidates orders by identity, and equals by the facts that are to
// count, best first, so that the order of the answer does not matter.
func compareCandidates(a, b backend) int {
	return cmp.Or(
		compareIdentity(a.BackendReport, b.BackendReport),
		cmp.Compare(a.facts.Rejected, b.facts.Rejected),
		-cmp.Compare(a.facts.Status, b.facts.Status),
		-cmp.Compare(a.facts.WeightPassing, b.facts.WeightPassing),
		-cmp.Compare(a.facts.WeightWarning, b.facts.WeightWarning),
		cmp.Compare(a.facts.Detail, b.facts.Detail),
	)
}
