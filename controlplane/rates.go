package controlplane

import (
	"context"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

// Counters are looked at each rateEvery, or less often where that takes so long that
// it would be more than a hundredth of a CPU. Ten minutes are remembered.
const (
	rateEvery   = 5 * time.Second
	rateBudget  = 100
	mostSamples = 120
)

// rates are what passes per second.
type rates struct {
	mu      sync.Mutex
	at      time.Time
	read    counted
	times   []time.Time
	history map[string][]api.Rates // of services, as long as times
	latest  map[rated]api.Rates    // of backends
}

// counted is what had been counted at some time.
type counted struct {
	services map[string]api.Traffic
	backends map[rated]api.Traffic
}

// rated is a backend of a service.
type rated struct {
	service string
	backend dataplane.ID
}

// measureRates looks at the counters until the context is over.
func (d *daemon) measureRates(ctx context.Context) error {
	// To know what a look takes. The time that passes says little in a flood, when it is
	// wanted most: others have the CPU.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		began := threadTime()
		at := time.Now()
		if now, err := d.countedNow(); err == nil { // else who asks for counters hears of it
			d.rates.add(at, now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(rateEvery, rateBudget*(threadTime()-began))):
		}
	}
}

// threadTime is the CPU time that this thread has had.
func threadTime() time.Duration {
	var used unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// countedNow is what was counted until now.
func (d *daemon) countedNow() (counted, error) {
	p := d.published.Load()
	counters, sums, err := d.traffic.read()
	if err != nil {
		return counted{}, err
	}
	now := counted{services: sums, backends: map[rated]api.Traffic{}}
	for service, standing := range p.placed {
		for id, at := range standing.backends {
			n := counters.Backends[at.index]
			now.backends[rated{service, id}] = api.Traffic{Packets: n.Packets, Bytes: n.Bytes, NewFlows: n.NewFlows}
		}
	}
	return now, nil
}

// add takes another look. What is new has no rate before the next.
func (r *rates) add(at time.Time, now counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := at.Sub(r.at)
	before := r.read
	first := r.at.IsZero()
	r.at, r.read = at, now
	if first || took <= 0 {
		return
	}
	r.latest = map[rated]api.Rates{}
	for of, n := range now.backends {
		if was, known := before.backends[of]; known {
			r.latest[of] = perSecond(was, n, took)
		}
	}
	keep := min(len(r.times), mostSamples-1)
	old := r.history
	r.times = append(append([]time.Time{}, r.times[len(r.times)-keep:]...), at)
	r.history = map[string][]api.Rates{}
	for name, n := range now.services {
		past := old[name]
		if len(past) == 0 {
			past = make([]api.Rates, keep)
		}
		was, known := before.services[name]
		if !known {
			was = n
		}
		r.history[name] = append(append([]api.Rates{}, past[len(past)-keep:]...), perSecond(was, n, took))
	}
}

// perSecond is nothing where the counter was begun anew, which is of a moment.
func perSecond(was, now api.Traffic, took time.Duration) api.Rates {
	per := func(was, now uint64) float64 {
		if now < was {
			return 0
		}
		return float64(now-was) / took.Seconds()
	}
	return api.Rates{NewFlows: per(was.NewFlows, now.NewFlows), Packets: per(was.Packets, now.Packets), Bits: 8 * per(was.Bytes, now.Bytes)}
}

func (r *rates) service(name string) api.Rates {
	r.mu.Lock()
	defer r.mu.Unlock()
	if past := r.history[name]; len(past) > 0 {
		return past[len(past)-1]
	}
	return api.Rates{}
}

func (r *rates) backend(service string, id dataplane.ID) api.Rates {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest[rated{service, id}]
}

// Rates are those of the last minutes, of one service unless it is "", for the API.
func (d *daemon) Rates(service string) (api.RateHistory, error) {
	p := d.published.Load()
	if _, known := p.report.Service(service); service != "" && !known {
		return api.RateHistory{}, p.noService(service)
	}
	r := &d.rates
	r.mu.Lock()
	defer r.mu.Unlock()
	list := api.RateHistory{Times: append([]time.Time{}, r.times...), Services: []api.ServiceRates{}}
	for _, s := range p.report.Services {
		if service == "" || s.Name == service {
			list.Services = append(list.Services, api.ServiceRates{Name: s.Name, Rates: append([]api.Rates{}, r.history[s.Name]...)})
		}
	}
	return list, nil
}
