package desired

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Report says what Merge decided and why. Whoever holds one may keep it: Merge
// never changes a report that it returned.
type Report struct {
	Services []ServiceReport // sorted by name
}

// ServiceReport is one declared service.
type ServiceReport struct {
	Name     string
	VIPs     []dataplane.VIP
	Forward  dataplane.Forward
	Slots    uint32
	State    ServiceState
	Reason   string // of a state other than ok
	Since    time.Time
	Ready    bool // a complete view was seen, and the kernel may follow it
	Panic    bool // so few are well that health is ignored
	Up       int  // backends that get new flows
	Backends []BackendReport
	// Again is when Merge would say something else though nothing new is heard;
	// zero is never.
	Again time.Time
}

// ServiceState sums a service up.
type ServiceState string

// The states of a service.
const (
	OK       ServiceState = "ok"       // every backend is up, new, or drained on purpose
	Degraded ServiceState = "degraded" // some backend should serve and does not
	Down     ServiceState = "down"     // no backend gets packets
	Waiting  ServiceState = "waiting"  // the first complete view is not there yet
)

// BackendReport is one backend of one service, also one that was refused.
type BackendReport struct {
	Source string
	ID     string // the instance's, in Consul
	Node   string
	Addr   netip.Addr
	Port   uint16       // where it listens; 0 if it was refused for lack of one
	Key    dataplane.ID // its name in the data plane; zero if it was refused
	Weight uint16       // as declared, clamped; 0 if it gets no new flows
	State  BackendState
	Reason string
	Since  time.Time
	// Rejection says in a word why it was refused; empty where it was not.
	Rejection Rejection
	// Draining says since when someone wants no new flows for it; nil where
	// nobody does.
	Draining *Draining
	// Joined is when its slow start began; zero where there is none, or it is over.
	Joined time.Time
}

// BackendState is what a backend is to its service.
type BackendState string

// The states of a backend.
const (
	BackendUp         BackendState = "up"
	BackendDown       BackendState = "down"       // Consul or the probes say so
	BackendDrain      BackendState = "drain"      // no new flows
	BackendDrained    BackendState = "drained"    // its time to drain is over: no flows
	BackendDisabled   BackendState = "disabled"   // an operator wants no packets for it
	BackendRejected   BackendState = "rejected"   // it must not be a backend
	BackendUnresolved BackendState = "unresolved" // no way to it is known
	BackendUnknown    BackendState = "unknown"    // new: not probed, or its next hop not looked up yet
)

// Rejection is a kind of reason to refuse an instance.
type Rejection string

// The kinds of reasons.
const (
	BadRegistration Rejection = "registration" // it says no address or no port that could be used
	BadAddress      Rejection = "address"      // of a kind that no backend has
	VIPAddress      Rejection = "vip"          // a VIP, or inside vip_pools
	NotAllowed      Rejection = "not allowed"  // outside allowed_backends
	BadPort         Rejection = "port"         // not one that packets for the VIP can go to
	Duplicate       Rejection = "duplicate"    // another instance is that backend already
)

// Service finds a service by name.
func (r Report) Service(name string) (ServiceReport, bool) {
	i, found := slices.BinarySearchFunc(r.Services, name, func(s ServiceReport, name string) int {
		return strings.Compare(s.Name, name)
	})
	if !found {
		return ServiceReport{}, false
	}
	return r.Services[i], true
}

// Same tells at once whether a decision stood: its reports share their memory. Two
// that do not may be equal all the same.
func (s ServiceReport) Same(before ServiceReport) bool {
	return s.State == before.State && s.Ready && before.Ready && len(s.Backends) == len(before.Backends) &&
		(len(s.Backends) == 0 || &s.Backends[0] == &before.Backends[0])
}

// Again is the earliest time that a service names; zero is never.
func (r Report) Again() time.Time {
	var at time.Time
	for _, s := range r.Services {
		at = earlier(at, s.Again)
	}
	return at
}

// earlier is the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Find returns what the report says of the same instance.
func (s ServiceReport) Find(b BackendReport) (BackendReport, bool) {
	i, found := slices.BinarySearchFunc(s.Backends, b, compareIdentity)
	if !found {
		return BackendReport{}, false
	}
	return s.Backends[i], true
}

// compareIdentity orders backends as people read them, by address first. It is
// zero for two reports about the same instance.
func compareIdentity(a, b BackendReport) int {
	return cmp.Or(
		a.Addr.Compare(b.Addr),
		cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Source, b.Source),
		cmp.Compare(a.ID, b.ID),
		cmp.Compare(a.Node, b.Node),
	)
}
