package controlplane

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// needs are what the instances on a host make necessary there.
type needs struct {
	vips     []netip.Prefix
	mappings []decap.Mapping
	refused  []decap.Refusal
	taken    []dataplane.VIP // all of the file, whoever serves them
}

// needsOf looks for instances at the host's own addresses.
func needsOf(file *config.File, instances map[string][]desired.Instance, own []netip.Prefix, held []decap.Mapping) needs {
	var n needs
	for _, s := range file.Services {
		for _, l := range s.Listen {
			n.taken = append(n.taken, l.VIP)
		}
	}
	for _, s := range file.Services {
		here := slices.DeleteFunc(slices.Clone(instances[s.Name]), func(i desired.Instance) bool {
			return i.Rejected != "" || !slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Addr().Unmap() == i.Addr })
		})
		if len(here) == 0 {
			continue
		}
		for _, l := range s.Listen {
			n.vips = append(n.vips, l.Addresses())
			if s.PortMapping {
				n.mapPort(s, l, here, held)
			}
		}
	}
	return n
}

// mapPort maps a VIP's port to those of all instances that GUE names, or to that
// of the one which balancers send to where nothing is named: the best by Consul's
// word, and of equals the one that has the flows so far.
func (n *needs) mapPort(s config.Service, l config.Listen, here []desired.Instance, held []decap.Mapping) {
	var all []decap.Mapping
	gue := s.Forward == "gue"
	slices.SortFunc(here, func(a, b desired.Instance) int {
		return cmp.Or(
			cmp.Compare(b.Status, a.Status),
			holds(held, mappingTo(l, b, gue))-holds(held, mappingTo(l, a, gue)),
			cmp.Compare(a.Port, b.Port),
		)
	})
	for _, i := range here {
		all = append(all, mappingTo(l, i, gue))
	}
	own := func(m decap.Mapping) bool { return m.Local == l.Port }
	switch {
	case gue:
		n.mappings = append(n.mappings, slices.DeleteFunc(all, own)...)
	case own(all[0]):
		for _, m := range slices.DeleteFunc(all, own) {
			n.refused = append(n.refused, decap.Refusal{Mapping: m, Reason: "an instance listens on the VIP's own port, and nothing in the tunnel tells them apart: with forward = \"gue\" it does"})
		}
	default:
		n.mappings = append(n.mappings, slices.DeleteFunc(all, own)...)
	}
}

func mappingTo(l config.Listen, i desired.Instance, named bool) decap.Mapping {
	return decap.Mapping{VIP: netip.AddrPortFrom(l.Addr, l.Port), Protocol: l.Protocol, Local: cmp.Or(i.Port, l.Port), Named: named}
}

func holds(held []decap.Mapping, m decap.Mapping) int {
	if slices.Contains(held, m) {
		return 1
	}
	return 0
}

// stay are those of what is held that nothing needs any more and that stay for the
// flows they have, since balancers drain an instance that goes; and how long
// nothing changes about that. until remembers when each is to go.
func stay[T comparable](until map[any]time.Time, held, wanted []T, now time.Time, span time.Duration) (staying []T, next time.Duration) {
	for _, one := range wanted {
		delete(until, one)
	}
	for _, one := range held {
		if slices.Contains(wanted, one) {
			continue
		}
		end, known := until[one]
		if !known {
			end = now.Add(span)
			until[one] = end
		}
		if left := end.Sub(now); left > 0 {
			staying = append(staying, one)
			next = sooner(next, left)
		}
	}
	return staying, next
}

// sooner is the lesser of two times to wait, of which 0 is for ever.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
