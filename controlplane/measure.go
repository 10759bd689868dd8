package controlplane

import (
	"maps"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// Measure is all that a scrape asks, for the API.
func (d *daemon) Measure() (api.Measurements, error) {
	p := d.published.Load()
	counters, sums, err := d.traffic.read()
	if err != nil {
		return api.Measurements{}, err
	}
	return api.Measurements{
		Status: d.status(p, &counters), Services: p.services(counters), Traffic: sums,
		StateChanges: d.moves.list(), Generation: p.generation, WriteFailures: p.writeFailures,
		Consul: consulCounts(d.consulCounts()), NoBackends: !p.loaded.file.BackendMetrics,
	}, nil
}

func consulCounts(n consul.Counts) api.ConsulCounts {
	counts := api.ConsulCounts{Watches: n.Watches, Requests: map[string]uint64{}, Holds: map[string]uint64{}}
	for reason, times := range n.Requests {
		name := string(reason)
		if reason == "" {
			name = "ok"
		}
		counts.Requests[name] = times
	}
	for reason, times := range n.Holds {
		counts.Holds[string(reason)] = times
	}
	return counts
}

// moves are the states that backends came to be in since the daemon was started.
type moves struct {
	mu     sync.Mutex
	counts map[api.BackendName]map[string]uint64
}

func (m *moves) moved(service string, b desired.BackendReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = map[api.BackendName]map[string]uint64{}
	}
	name := api.BackendName{Service: service, Address: address(b)}
	if m.counts[name] == nil {
		m.counts[name] = map[string]uint64{}
	}
	m.counts[name][string(b.State)]++
}

// forget is for a backend that is gone.
func (m *moves) forget(service string, b desired.BackendReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.counts, api.BackendName{Service: service, Address: address(b)})
}

func (m *moves) list() map[api.BackendName]map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[api.BackendName]map[string]uint64, len(m.counts))
	for name, counts := range m.counts {
		all[name] = maps.Clone(counts)
	}
	return all
}

// answered notes Consul's answers that a decision is about to be made from.
func (d *daemon) answered(views map[string]consul.View) {
	d.consulSaid = time.Time{}
	for _, view := range views {
		if view.Changed && (d.consulSaid.IsZero() || view.Answered.Before(d.consulSaid)) {
			d.consulSaid = view.Answered
		}
	}
}
