package controlplane

import (
	"maps"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/dataplane"
)

// Measure is all that a scrape asks, for the API.
func (d *daemon) Measure() (api.Measurements, error) {
	p := d.published.Load()
	counters, sums, err := d.traffic.read()
	if err != nil {
		return api.Measurements{}, err
	}
	changes, rejections := d.moves.list()
	return api.Measurements{
		Status: d.status(p, &counters), Services: p.services(counters), Traffic: sums,
		StateChanges: changes, Rejections: rejections, Generation: p.generation, WriteFailures: writeFailures(p.writeFailures),
		Consul: consulCounts(d.consulCounts()), NoBackends: !p.loaded.file.BackendMetrics,
	}, nil
}

// writeFailures are those of every map, also of those that have none.
func writeFailures(counts map[string]uint64) map[string]uint64 {
	all := map[string]uint64{}
	for _, name := range dataplane.Maps {
		all[name] = counts[name]
	}
	return all
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
	// rejections are those of services, by reason.
	rejections map[string]map[string]uint64
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
	if b.State == desired.BackendRejected {
		m.reject(service, string(b.Rejection))
	}
}

// reject is for who holds the lock.
func (m *moves) reject(service, reason string) {
	if m.rejections == nil {
		m.rejections = map[string]map[string]uint64{}
	}
	if m.rejections[service] == nil {
		m.rejections[service] = map[string]uint64{}
	}
	m.rejections[service][reason]++
}

// forgetService is for one that is gone, with its backends.
func (m *moves) forgetService(s desired.ServiceReport) {
	for _, b := range s.Backends {
		m.forget(s.Name, b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rejections, s.Name)
}

// forget is for a backend that is gone.
func (m *moves) forget(service string, b desired.BackendReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.counts, api.BackendName{Service: service, Address: address(b)})
}

func (m *moves) list() (changes map[api.BackendName]map[string]uint64, rejections map[string]map[string]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cloneEach(m.counts), cloneEach(m.rejections)
}

func cloneEach[K comparable](all map[K]map[string]uint64) map[K]map[string]uint64 {
	copies := make(map[K]map[string]uint64, len(all))
	for key, counts := range all {
		copies[key] = maps.Clone(counts)
	}
	return copies
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
