package api

// Measured is a daemon that metrics are made of.
type Measured interface {
	Source
	// Measure answers all that a scrape asks at once, so that its numbers belong
	// together.
	Measure() (Measurements, error)
}

// Measurements are of one moment. Counters are since the daemon was started,
// where nothing else is said.
type Measurements struct {
	Status   Status
	Services []ServiceBackends
	// Traffic is what services were sent, by name. It never falls, as sums over
	// the backends of now would.
	Traffic map[string]Traffic
	// Rejections are instances that came to be rejected, by service and why.
	Rejections map[string]map[string]uint64
	// StateChanges are the states that backends came to be in, and how often.
	StateChanges map[BackendName]map[string]uint64
	// Generation is how often the tables were changed.
	Generation uint64
	// WriteFailures are changes of the tables that failed, by the map that refused.
	WriteFailures map[string]uint64
	Consul        ConsulCounts
	// NoBackends leaves the metrics of single backends out.
	NoBackends bool
}

// Traffic is what was forwarded.
type Traffic struct{ Packets, Bytes, NewFlows uint64 }

// BackendName names a backend of a service; Address is as in Backend.
type BackendName struct{ Service, Address string }

// ConsulCounts are what was asked of Consul.
type ConsulCounts struct {
	Watches  int
	Requests map[string]uint64 // by result: "ok", or why there was none
	Holds    map[string]uint64 // answers that were not used, by reason
}
