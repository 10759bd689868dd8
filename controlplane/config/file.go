// Package config reads the file an operator writes: HCL v2 or its JSON form,
// one file or a directory of them. It fills in defaults and reports every
// mistake at once, each at its place. It touches nothing but the files.
package config

import (
	"net/netip"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// The defaults of the keys that have one which is not zero.
const (
	DefaultStateDir   = "/var/lib/pointsman"
	DefaultHTTPListen = "127.0.0.1:9731"
	DefaultMaxWatches = 150
	DefaultForward    = "ipip"
	DefaultSlots      = 65537
	DefaultWarning    = "use-weight"
	DefaultWeight     = 1

	DefaultTracking     = "auto"
	DefaultAffinity     = "flow"
	DefaultQUICOffset   = 1
	DefaultDrainTimeout = 10 * time.Minute

	DefaultPath     = "/"
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = time.Second
	DefaultRise     = 2
	DefaultFall     = 3
	DefaultJitter   = 0.1
)

// DefaultLimits hold 64 services of the default number of slots in 16 MiB, what
// these go through in 64 MiB, a million remembered flows in 8 MiB and a quarter
// of a million of nat's connections in 38 MiB.
var DefaultLimits = Limits{
	Services: 1024, VIPs: 4096, Backends: 16384, Slots: 64 * DefaultSlots, Flows: 1 << 20, Connections: 1 << 18, ICMPErrors: 1000,
}

// File is a configuration without mistakes. Only Load and Parse make one.
type File struct {
	// Place knows where the keys outside of blocks stand.
	Place
	// Interfaces are the names of those on which packets for the VIPs arrive.
	// Required, each once.
	Interfaces []string
	// VIPPools are the prefixes that VIPs are taken from, without host bits.
	// Required where there is a service.
	VIPPools []netip.Prefix
	// HashSecret is shared by the balancers of a fleet, at least 8 bytes; nil
	// where the file has none and the daemon draws its own.
	HashSecret *string
	// StateDir is an absolute path. Default: DefaultStateDir.
	StateDir string
	// HTTPListen is the ADDRESS:PORT where metrics are served, "" nowhere.
	// Default: DefaultHTTPListen.
	HTTPListen string
	// BackendMetrics says whether there are metrics of single backends. Default: true.
	BackendMetrics bool
	// Limits are the sizes of the kernel's maps and the like. Default: DefaultLimits.
	Limits Limits
	// NAT is how forward = "nat" makes its connections.
	NAT NAT
	// Consul says how to reach Consul; nil without a consul block, and then no
	// service has a consul block either.
	Consul *Consul
	// Services are sorted by name.
	Services []Service

	sources    sources
	interfaces []Position
	pools      []Position
}

// Limits are the sizes of the kernel's maps, and what else is fixed when a daemon
// starts. Each counts entries; a slot takes 20 bytes, a backend 64 and its counters, a flow 8.
type Limits struct {
	Services uint32
	VIPs     uint32
	Backends uint32
	Slots    uint32
	// Flows is how many flows can be remembered, rounded up to a power of two.
	Flows uint32
	// ICMPErrors are those that each CPU may send in a second, 1 to a million.
	ICMPErrors uint32
	// Connections is how many connections of nat there can be, rounded up to a
	// power of two; 152 bytes each.
	Connections uint32
}

// Consul says how to reach Consul. What is empty is left to Consul's own
// environment variables and defaults.
type Consul struct {
	Place
	// Address is that of an agent: http://…, https://… or unix://….
	Address string
	// Token is an ACL token. Never logged.
	Token string
	// TokenFile is an absolute path to a file that holds the token. At most
	// one of Token and TokenFile is set.
	TokenFile string
	// CAFile, CertFile and KeyFile are absolute paths of PEM files; CertFile
	// and KeyFile come together.
	CAFile, CertFile, KeyFile string
	// TLSServerName is what the agent's certificate must name. Default: the
	// host of Address.
	TLSServerName string
	// Datacenter, Namespace and Partition hold for services that name none.
	Datacenter, Namespace, Partition string
	// MaxWatches is how many watches may be open over plain HTTP, one a
	// service. Default: DefaultMaxWatches.
	MaxWatches int
}

// Service is a name, its VIPs, and where its backends come from: either Consul
// or Backends is set.
type Service struct {
	Place
	// Name is 1 to 63 bytes of a-z, 0-9, ".", "_" and "-".
	Name string
	// Listen are the VIPs in the file's order; at least one.
	Listen []Listen
	// Forward is "ipip", "gue", "l2" or "nat". Default: DefaultForward.
	Forward string
	// PortMapping lets backends listen on other ports than the VIPs', which then
	// all have one and the same: the backends map it. Default: false.
	PortMapping bool
	// Slots is a prime from 251 to 1,000,003. Default: DefaultSlots.
	Slots uint32
	// PanicThreshold is the share of healthy backends, 0 to 1, below which
	// health is ignored. Default: 0, never.
	PanicThreshold float64
	// Tracking is "auto", "always" or "never". Default: DefaultTracking.
	Tracking string
	// Affinity is "flow", "client" or "quic". Default: DefaultAffinity.
	Affinity string
	// QUIC says where backends name themselves in connection IDs; nil unless
	// Affinity is "quic".
	QUIC *QUIC
	// IdleTimeout is how long a flow of either protocol may be silent, 1 s to
	// MaxIdleTimeout. Default: 0, 15 minutes for TCP and 60 seconds for UDP.
	IdleTimeout time.Duration
	// DrainTimeout is how long a draining backend keeps its flows, 0 to a week.
	// Default: DefaultDrainTimeout.
	DrainTimeout time.Duration
	// SlowStart is how long a backend that joins or recovers takes to get its
	// whole weight, 0 to 1 h. Default: 0, at once.
	SlowStart time.Duration
	// Consul is set where Consul's catalog says who the backends are.
	Consul *ConsulSource
	// Backends are those that the file names, in the file's order.
	Backends []StaticBackend
	// Health is the balancer's own check; nil where there is none.
	Health *Check
}

// Listen is one VIP. Its address has no zone; a port is never 0, but for any port.
type Listen struct {
	dataplane.VIP
	Position Position
}

// QUIC is a range of bytes in a QUIC connection ID, within its 20 bytes.
type QUIC struct {
	Place
	// Offset is of the first byte, 0 to 19. Default: DefaultQUICOffset.
	Offset uint8
	// Length is 1 to 8 bytes. Required.
	Length uint8
}

// ConsulSource says which of Consul's instances are a service's backends, and
// how they are taken.
type ConsulSource struct {
	Place
	// Service is the name in Consul. Default: the service's name.
	Service string
	// Tags must all be on an instance.
	Tags []string
	// Filter is an expression of Consul's. Only Consul can tell whether it is
	// right: report what it says with File.Mistake at At("filter").
	Filter string
	// Datacenter, Namespace, Partition and Peer say where to look. Default:
	// those of the consul block, then the agent's.
	Datacenter, Namespace, Partition, Peer string
	// TaggedAddress is the name of the address to use, e.g. "lan_ipv4".
	// Default: the instance's address, else its node's.
	TaggedAddress string
	// PortName is the name of the port to use. Default: the instance's port.
	PortName string
	// Resolve allows instances that are registered with a hostname.
	Resolve bool
	// IgnoreChecks are ids of checks that are not looked at.
	IgnoreChecks []string
	// Warning is what a warning check means: "use-weight", "drop" or
	// "as-passing". Default: DefaultWarning.
	Warning string
	// AllowedBackends are the prefixes that instances must lie in. Default:
	// any address.
	AllowedBackends []netip.Prefix
}

// StaticBackend is a backend that the file names.
type StaticBackend struct {
	Place
	// Addr is unmapped and without a zone.
	Addr netip.Addr
	// Port is 0 where the file gives none: the VIP's port.
	Port uint16
	// Weight is 0 to 256; 0 takes no new flows. Default: DefaultWeight.
	Weight uint16
	// QUICID is in hexadecimal what the backend puts into connection IDs, as many
	// bytes as the service's QUIC.Length. Default: "", the last of its address.
	QUICID string
}

// Check is how the balancer itself probes the backends of a service.
type Check struct {
	Place
	// Kind is "tcp", "http" or "https".
	Kind string
	// Port is what to probe. Default: 0, the backend's port, which is the
	// port of the first VIP where the backend has none of its own.
	Port uint16
	// Path is asked for by http and https. Default: DefaultPath.
	Path string
	// Host is the Host header. Default: empty, the backend's address and port.
	Host string
	// ExpectStatus are the good answers. Default: 200 to 399.
	ExpectStatus []StatusRange
	// Interval is the time from one probe to the next, 100 ms to 1 h.
	// Default: DefaultInterval.
	Interval time.Duration
	// Timeout is how long a probe may take, at most Interval. Default:
	// DefaultTimeout or Interval, whichever is less.
	Timeout time.Duration
	// Rise and Fall are how many probes in a row must succeed or fail, 1 to
	// 100. Default: DefaultRise and DefaultFall.
	Rise, Fall int
	// Jitter is the share of Interval, 0 to 0.5, by which a probe may come
	// early or late. Default: DefaultJitter.
	Jitter float64
	// TLSSkipVerify accepts any certificate. Default: false.
	TLSSkipVerify bool
	// TLSServerName is sent as SNI and must be in the certificate. Default:
	// Host, then the backend's address.
	TLSServerName string
	// CAFile is the absolute path of the PEM file to verify against. Default:
	// the system's.
	CAFile string
}

// StatusRange is HTTP status codes from First to Last, both included.
type StatusRange struct {
	First, Last int
}
