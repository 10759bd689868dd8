package controlplane

import (
	"fmt"
	"maps"
	"net"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// page is what the loop publishes for the API: a snapshot that nobody changes.
type page struct {
	loaded    loaded
	refused   error
	report    desired.Report
	problems  []dataplane.Problem
	placed    placements
	census    census
	flowLimit int // of the flow table
	// connectionLimit is that of nat's connections.
	connectionLimit int
	lastApply       *applied
	samples         samples
	drift           drift

	generation    uint64
	writeFailures map[string]uint64 // by map

	attached  []dataplane.Attachment
	attachErr error
	unkept    func() string   // what cannot be written to disk, as a sentence
	unserved  func() string   // why metrics are not
	views     map[string]view // by service
	rates     *rates
}

func (d *daemon) publish() {
	p := &page{
		loaded: d.loaded, refused: d.refused, report: d.report, problems: d.problems,
		placed: d.placed, census: d.settling.last, lastApply: d.lastApply, samples: d.samples, drift: d.drift,
		generation: d.generation, writeFailures: maps.Clone(d.writeFailures),
		attached: d.attach.done, attachErr: d.attach.err,
		rates: &d.rates,
		views: map[string]view{}, unkept: d.keeper.warning, unserved: d.web.Problem,
	}
	if d.first != nil {
		p.connectionLimit = int(d.first.Limits.Connections)
	}
	for service := range d.watchNames {
		p.views[service] = d.view(service)
	}
	if d.tables != nil {
		p.flowLimit = len(d.tables.Flows)
	} else if before := d.published.Load(); before != nil {
		p.flowLimit = before.flowLimit
	}
	d.published.Store(p)
	d.versions.turn(p.generation, d.events.lastID())
}

// Services are all services with their backends, for the API.
func (d *daemon) Services() []api.ServiceBackends {
	counters, err := d.plane.Counters()
	if err != nil {
		d.log.Error("the counters cannot be read", "reason", err)
	}
	return d.published.Load().services(counters)
}

func (p *page) services(counters dataplane.Counters) []api.ServiceBackends {
	all := make([]api.ServiceBackends, 0, len(p.report.Services))
	for _, s := range p.report.Services {
		all = append(all, p.service(s, counters))
	}
	return all
}

func (p *page) service(s desired.ServiceReport, counters dataplane.Counters) api.ServiceBackends {
	state, reason := p.judge(s)
	view := api.ServiceBackends{
		Service: api.Service{
			Name: s.Name, Listen: []string{}, Forward: s.Forward.String(), Slots: s.Slots,
			State: string(state), Reason: reason, Since: s.Since,
			BackendsUp: s.Up, BackendsTotal: len(s.Backends), Panic: s.Panic, Phases: map[string]api.Phases{}, Dropped: map[string]uint64{},
			Rates: p.rates.service(s.Name),
		},
		Backends: []api.Backend{},
	}
	for _, vip := range s.VIPs {
		view.Listen = append(view.Listen, vip.String())
	}
	seen := p.views[s.Name]
	if at := seen.At; !at.IsZero() {
		view.ViewConfirmed = &at
		if seen.stale {
			view.StaleSince = &at
		}
	}
	standing := p.placed[s.Name]
	if dropped := counters.Dropped[standing.id]; dropped != nil {
		view.Dropped = dropped
	}
	for protocol, n := range standing.phases {
		view.Phases[protocol.String()] = api.Phases{
			Settled: n[dataplane.Settled], Moving: n[dataplane.Moving],
			Learning: n[dataplane.Learning], Settling: n[dataplane.Settling],
		}
	}
	for _, b := range s.Backends {
		place := standing.backends[b.Key]
		count := counters.Backends[place.index]
		view.NewFlows += count.NewFlows
		view.Packets += count.Packets
		view.Bytes += count.Bytes
		view.Backends = append(view.Backends, api.Backend{
			Address: address(b), Weight: b.Weight, State: string(b.State), Reason: b.Reason, Since: b.Since,
			Slots: place.slots, FallbackSlots: place.fallback, RememberedFlows: p.census.byBackend[place.index],
			Drain:  p.drain(b, place),
			Source: b.Source, Node: b.Node, ConsulID: b.ID, NextHop: nextHop(place.hop),
			Rates:    p.rates.backend(s.Name, b.Key),
			NewFlows: count.NewFlows, Packets: count.Packets, Bytes: count.Bytes,
		})
	}
	return view
}

// drain is what there is to say of a backend that someone drains.
func (p *page) drain(b desired.BackendReport, at placement) *api.Drain {
	d := b.Draining
	if d == nil {
		return nil
	}
	view := &api.Drain{Since: d.Since, CutAt: d.Cut, By: d.By, Empty: b.State != desired.BackendDrain || p.census.empty[at.index]}
	if !d.Until.IsZero() {
		view.Until = &d.Until
	}
	return view
}

// draining are the backends of all services that still have flows to lose.
func (p *page) draining() []api.Draining {
	all := []api.Draining{}
	for _, s := range p.report.Services {
		for _, b := range s.Backends {
			if b.State != desired.BackendDrain {
				continue
			}
			at := p.placed[s.Name].backends[b.Key]
			all = append(all, api.Draining{
				Service: s.Name, Address: address(b), Reason: b.Reason, Drain: *p.drain(b, at),
				Slots: at.slots, FallbackSlots: at.fallback, RememberedFlows: p.census.byBackend[at.index],
			})
		}
	}
	return all
}

// judge is the state of a service with what the data plane had to say about it.
func (p *page) judge(s desired.ServiceReport) (desired.ServiceState, string) {
	for _, problem := range p.problems {
		if problem.Service == s.Name {
			if s.State == desired.OK {
				return desired.Degraded, problem.Text
			}
			return s.State, problem.Text
		}
	}
	return s.State, s.Reason
}

// nextHop is the device that sends to a backend, the VLANs and the MAC: "eth0
// vlan 100 02:00:00:00:00:09".
func nextHop(h dataplane.Hop) string {
	if h.Interface == 0 {
		return ""
	}
	name := fmt.Sprint(h.Interface)
	if device, err := net.InterfaceByIndex(int(h.Interface)); err == nil {
		name = device.Name
	}
	if outer := h.VLAN[0] &^ dataplane.ServiceTag; outer != 0 {
		name += fmt.Sprint(" vlan ", outer)
	}
	if inner := h.VLAN[1] &^ dataplane.ServiceTag; inner != 0 {
		name += fmt.Sprint(".", inner)
	}
	return name + " " + net.HardwareAddr(h.NextHopMAC[:]).String()
}
