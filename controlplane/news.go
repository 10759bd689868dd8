package controlplane

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// news are what something was heard of since the last decision. What was decided
// of all other services stands, so that a change costs what it is about and not
// what there is.
type news struct {
	all      bool
	services map[string]bool
	ways     map[netip.Addr]bool // next hops that changed
}

func (n *news) of(service string) {
	if n.services == nil {
		n.services = map[string]bool{}
	}
	n.services[service] = true
}

func (n *news) wayTo(addr netip.Addr) {
	if n.ways == nil {
		n.ways = map[netip.Addr]bool{}
	}
	n.ways[addr.Unmap()] = true
}

// add takes in more.
func (n *news) add(more news) {
	n.all = n.all || more.all
	for name := range more.services {
		n.of(name)
	}
	for addr := range more.ways {
		n.wayTo(addr)
	}
}

// heard takes the news, as the names of the services that they are about, and of
// those that wait or that time alone changes; nil is all. What came of earlier news
// can be built on only where it is what was decided last.
func (d *daemon) heard() map[string]bool {
	fresh := d.news
	d.news = news{}
	if fresh.all || !d.decided || len(d.report.Services) != len(d.services) {
		return nil
	}
	names := maps.Clone(fresh.services)
	if names == nil {
		names = map[string]bool{}
	}
	for i := range d.report.Services {
		if s := &d.report.Services[i]; !s.Ready || passed(s.Again) {
			names[s.Name] = true
		}
	}
	if len(fresh.ways) == 0 {
		return names
	}
	for name, candidates := range d.candidates {
		if slices.ContainsFunc(candidates, func(c desired.Candidate) bool { return fresh.ways[c.Addr] }) {
			names[name] = true
		}
	}
	return names
}

// anew has the tenth part of all services, or the next hundred, judged again though
// nothing was heard of them, so that news that got lost cannot do harm for long.
func (d *daemon) anew() {
	count := len(d.report.Services)
	for range min(max(100, count/10), count) {
		d.again = (d.again + 1) % count
		d.news.of(d.report.Services[d.again].Name)
	}
}

// narrowed is what was decided, where services that nothing was heard of are to be
// left as the tables have them: those were made to hold what was decided of them
// before. Where that is in doubt, it is the whole.
func (d *daemon) narrowed(heard map[string]bool) dataplane.State {
	if heard == nil || !d.exact || len(d.problems) > 0 {
		return d.want
	}
	narrow := d.want
	narrow.Services = slices.Clone(d.want.Services)
	for i := range narrow.Services {
		s := &narrow.Services[i]
		s.Keep = s.Keep || !heard[s.Name] && !d.want.Doubted[s.Name]
	}
	return narrow
}
