// Package desired decides what the kernel should hold. It merges what the
// operator declared with what was discovered, probed and resolved. It is pure,
// and it is the one place where policy lives: sources report facts, the data
// plane carries out, and everything in between is Merge.
package desired

import (
	"net/netip"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Input is everything that Merge looks at. The order of slices in it does not
// matter.
type Input struct {
	Now      time.Time
	Services []Service
	VIPPools []netip.Prefix
	Views    map[string]View // by service name; missing is a view not Known
	Verdicts map[Key]Verdict // missing is Unknown
	Hops     map[netip.Addr]Hop
	// Ingress are the interfaces that packets are seen on, by ifindex.
	Ingress []uint32
	// Overrides are the operators' wishes, at most one of each kind a backend.
	Overrides []Override
	Before    Report // what Merge said last; the zero Report at a start
	// Began are the drains that an earlier daemon knew of, too.
	Began map[Drained]time.Time
	// Held are the names of services that the kernel has VIPs and backends of.
	Held map[string]bool
	// Heard are the services that something is new of since Before and Decided were
	// said; of all others, Views, Verdicts and Hops need not be there. Nil is all.
	Heard   map[string]bool
	Decided dataplane.State // by the Merge that said Before
}

// stands tells whether what was said of a service still holds. One that waits may
// hear of what is not its own, and time changes what it was said to.
func (in Input) stands(before ServiceReport) bool {
	return in.Heard != nil && !in.Heard[before.Name] && before.Ready &&
		(before.Again.IsZero() || in.Now.Before(before.Again))
}

// Service is what the operator declared. Names are unique and every VIP has
// one owner; package config sees to both.
type Service struct {
	Name    string
	VIPs    []dataplane.VIP
	Forward dataplane.Forward
	// PortMapping says that backends map the VIPs' port, which is one, to others.
	PortMapping bool
	Slots       uint32
	Warning     Warning
	Probed      bool // the balancer's own probes have a word
	// ProbePort overrides the port that probes connect to; 0 does not.
	ProbePort uint16
	// AllowedBackends limits where discovered backends may be; empty is anywhere.
	AllowedBackends []netip.Prefix
	// PanicThreshold is the fraction of well backends, 0 to 1, under which
	// health is ignored. 0 never ignores it.
	PanicThreshold float64
	Tracking       dataplane.Tracking
	AffinityClient bool
	QUIC           dataplane.QUIC // zero where connection IDs do not matter
	IdleTimeout    time.Duration  // of TCP and UDP; 0 is the data plane's default of each
	DrainTimeout   time.Duration  // after it, the flows of a draining backend are cut
	SlowStart      time.Duration  // until a backend that joins has its whole weight; 0 is at once
}

// Warning says what a backend is worth whose Consul checks warn.
type Warning uint8

// The warning modes of the file: "use-weight", "drop" and "as-passing".
const (
	WarningUseWeight Warning = iota
	WarningDrop
	WarningAsPassing
)

// View is who stands behind a service, as far as the sources know.
type View struct {
	Known     bool // every source has answered at least once
	Instances []Instance
	Nobody    string // why there may be no instances, for people
}

// Instance is one candidate, as its source describes it. These are facts; what
// to make of them is Merge's.
type Instance struct {
	Source        string // "consul" or "file"
	ID            string // Consul's, "" in the file
	Node          string
	Addr          netip.Addr
	Port          uint16 // 0 is the VIP's
	Status        Status
	WeightPassing int
	WeightWarning int
	QUICID        string // what it puts into connection IDs; "" is the last of its address
	Detail        string // the check that is not passing, for people
	Rejected      string // why the source could make no address of it; "" where it could
}

// Status is Consul's aggregated status of an instance. The zero value is
// critical: what nobody vouches for does not serve.
type Status uint8

// From worst to best, which decides between registrations of one address.
const (
	Critical Status = iota
	Maintenance
	Warned
	Passing
)

func (s Status) String() string {
	switch s {
	case Passing:
		return "passing"
	case Warned:
		return "warning"
	case Maintenance:
		return "in maintenance"
	}
	return "critical"
}

// Key names what a verdict is about: one backend as one service sees it.
type Key struct {
	Service string
	Addr    netip.Addr
	Port    uint16 // that is probed
}

// Verdict is what the balancer's own probes say.
type Verdict struct {
	Health Health
	Reason string // of Ill
}

// Health is the word of the probes.
type Health uint8

// Unknown lasts until the first probe is over.
const (
	Unknown Health = iota
	Well
	Ill
)

// Hop is the way to an address, or why there is none.
type Hop struct {
	dataplane.Hop
	Gateway netip.Addr // invalid where the backend is on the segment itself
	Problem string     // "" where the hop can be used
}
