package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Timings are how long things took since the daemon was started. Its methods may
// be called from anywhere.
type Timings struct{ apply, convergence, consul prometheus.Histogram }

// NewTimings returns timings of nothing yet.
func NewTimings() *Timings {
	return &Timings{
		apply:       histogram("map_apply_duration_seconds", "How long changes of the tables took, from the first map written to the last."),
		convergence: histogram("convergence_duration_seconds", "How long changes in Consul took, from its answer to the last map written, where nothing else had to be found out first."),
		consul:      histogram("consul_request_duration_seconds", "How long Consul took to answer questions that do not wait for a change."),
	}
}

// histogram has buckets from a tenth of a millisecond to five seconds.
func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: name, Help: help,
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5},
	})
}

// Applied notes a change of the tables.
func (t *Timings) Applied(took time.Duration) { t.apply.Observe(took.Seconds()) }

// Converged notes a change that Consul told of.
func (t *Timings) Converged(took time.Duration) { t.convergence.Observe(took.Seconds()) }

// Asked notes a question to Consul.
func (t *Timings) Asked(took time.Duration) { t.consul.Observe(took.Seconds()) }

func (t *Timings) register(in prometheus.Registerer) {
	in.MustRegister(t.apply, t.convergence, t.consul)
}
