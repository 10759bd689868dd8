// Package api answers questions about the running daemon over HTTP on a unix
// socket, and asks them for the command line. Its views are the documented
// JSON; fields are added to a schema version, never changed or removed.
package api

import (
	"net/http"
	"time"
)

// SchemaVersion is that of every view of this package.
const SchemaVersion = 1

// Status is GET /v1/status: the daemon on one page.
type Status struct {
	SchemaVersion int           `json:"schema_version"`
	State         string        `json:"state"` // "ok", or "degraded" if there is a warning
	Warnings      []string      `json:"warnings"`
	Version       string        `json:"version"`
	PID           int           `json:"pid"`
	Started       time.Time     `json:"started"`
	Config        ConfigStatus  `json:"config"`
	Consul        *ConsulStatus `json:"consul,omitempty"` // absent where no service asks Consul
	Interfaces    []Interface   `json:"interfaces"`
	Services      ServiceCounts `json:"services"`
	LastApply     *Apply        `json:"last_apply,omitempty"`
	// DriftRepairs counts what was found otherwise than the daemon had left it, and mended.
	DriftRepairs int               `json:"drift_repairs"`
	LastRepair   *Repair           `json:"last_drift_repair,omitempty"`
	FlowTable    FlowTable         `json:"flow_table"`
	Connections  ConnectionTable   `json:"connections"`
	Draining     []Draining        `json:"draining"` // backends that still have flows to lose
	Outcomes     map[string]uint64 `json:"outcomes"` // packets since the program was loaded, by what became of them
	Process      Process           `json:"process"`
}

// Process is what the daemon takes.
type Process struct {
	Goroutines int    `json:"goroutines"`
	HeapBytes  uint64 `json:"heap_bytes"` // in use, and not yet collected
}

// ConfigStatus is the file that runs.
type ConfigStatus struct {
	Path   string    `json:"path"`
	Loaded time.Time `json:"loaded"`
	// Error is what is wrong with the file as it is now; the one loaded before
	// goes on running.
	Error string `json:"error,omitempty"`
}

// ConsulStatus is how well Consul answers.
type ConsulStatus struct {
	Address string `json:"address"`
	// State is "ok", or "stale" if the view of some service is not confirmed.
	State string `json:"state"`
	// StaleSince is when the least recent of the views that are not confirmed was.
	StaleSince *time.Time `json:"stale_since,omitempty"`
	// Held are the services whose last known backends are held, with the reason.
	Held map[string]string `json:"held,omitempty"`
	// OldestView is when the least recent view was confirmed.
	OldestView *time.Time `json:"oldest_view,omitempty"`
}

// Interface is where packets for the VIPs arrive.
type Interface struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`             // "native", "generic" or "missing"
	Reason string `json:"reason,omitempty"` // why not native
	// Outcomes are packets that came by it since it was attached to, by what became of
	// them, but for FORWARD: those are counted with their backends alone. Outcomes without
	// any are left out.
	Outcomes map[string]uint64 `json:"outcomes,omitempty"`
}

// ServiceCounts counts services by state.
type ServiceCounts struct {
	OK       int `json:"ok"`
	Degraded int `json:"degraded"`
	Down     int `json:"down"`
	Waiting  int `json:"waiting"`
}

// Apply is the last change of the kernel's tables.
type Apply struct {
	At      time.Time `json:"at"`
	Steps   int       `json:"steps"`
	ApplyMS float64   `json:"apply_ms"` // decision to last map written
	Error   string    `json:"error,omitempty"`
}

// Repair is of something in the kernel that somebody else changed.
type Repair struct {
	At    time.Time `json:"at"`
	Found string    `json:"found"`
}

// FlowTable is how many flows are remembered. The counters are since the
// program's maps were made.
type FlowTable struct {
	Capacity   int       `json:"capacity"`
	Remembered int       `json:"remembered"`
	CountedAt  time.Time `json:"counted_at"` // Remembered, and that of backends
	Inserted   uint64    `json:"inserted"`
	Evicted    uint64    `json:"evicted"` // of those inserted, in the place of an expired flow
	Refused    uint64    `json:"refused"` // for want of room
}

// ConnectionTable is how many connections of nat there are.
type ConnectionTable struct {
	Capacity  int       `json:"capacity"`
	Open      int       `json:"open"` // those that are closed and whose ports still rest among them
	CountedAt time.Time `json:"counted_at"`
}

// Draining is a backend that takes no new flows and keeps those it has.
type Draining struct {
	Service         string `json:"service"`
	Address         string `json:"address"`
	Reason          string `json:"reason"`
	Slots           uint32 `json:"slots"`
	FallbackSlots   uint32 `json:"fallback_slots"`
	RememberedFlows int    `json:"remembered_flows"`
	Drain
}

// Drain is how long a backend is to be without new flows.
type Drain struct {
	Since time.Time `json:"since"`
	CutAt time.Time `json:"cut_at"` // when the flows that are left are cut
	// By is the operator who asked for it; "" where Consul or the file did.
	By    string     `json:"by,omitempty"`
	Until *time.Time `json:"until,omitempty"` // when the operator's wish ends by itself
	// Empty says that no slot and no remembered flow is left.
	Empty bool `json:"empty"`
}

// Services is GET /v1/services.
type Services struct {
	SchemaVersion int       `json:"schema_version"`
	Services      []Service `json:"services"` // sorted by name
}

// Service is one declared service. The counters are sums over its backends.
type Service struct {
	Name          string     `json:"name"`
	Listen        []string   `json:"listen"`  // "192.0.2.10:443/tcp"
	Forward       string     `json:"forward"` // "ipip", "gue" or "l2"
	Slots         uint32     `json:"slots"`
	State         string     `json:"state"` // "ok", "degraded", "down" or "waiting"
	Reason        string     `json:"reason,omitempty"`
	Since         time.Time  `json:"since"`
	BackendsUp    int        `json:"backends_up"`
	BackendsTotal int        `json:"backends_total"`
	Panic         bool       `json:"panic"`                    // so few are well that health is ignored
	ViewConfirmed *time.Time `json:"view_confirmed,omitempty"` // by Consul
	// StaleSince is the same if Consul does not confirm it any more.
	StaleSince *time.Time `json:"stale_since,omitempty"`
	// Phases are the slots by phase, for "tcp" and "udp" as far as it listens.
	Phases   map[string]Phases `json:"phases"`
	Rates    Rates             `json:"rates"` // over the last few seconds
	NewFlows uint64            `json:"new_flows"`
	Packets  uint64            `json:"packets"`
	Bytes    uint64            `json:"bytes"`
	// Dropped are packets that went nowhere although it is known whose they are, by
	// outcome, since it was added.
	Dropped map[string]uint64 `json:"dropped"`
}

// Phases are numbers of slots. All but the settled ones digest a change.
type Phases struct {
	Settled  uint32 `json:"settled"`
	Moving   uint32 `json:"moving"`
	Learning uint32 `json:"learning"`
	Settling uint32 `json:"settling"`
}

// Backends is GET /v1/backends and GET /v1/backends?service=NAME.
type Backends struct {
	SchemaVersion int               `json:"schema_version"`
	Services      []ServiceBackends `json:"services"`
}

// ServiceBackends is a service with its backends.
type ServiceBackends struct {
	Service
	Backends []Backend `json:"backends"` // sorted by address
}

// Backend is one backend of one service. The counters are since it was last
// added to the kernel's tables.
type Backend struct {
	Address string    `json:"address"` // "10.20.0.11:443"
	Weight  uint16    `json:"weight"`
	State   string    `json:"state"` // "up", "down", "drain", "drained", "disabled", "rejected", "unresolved" or "unknown"
	Reason  string    `json:"reason,omitempty"`
	Since   time.Time `json:"since"`
	Slots   uint32    `json:"slots"` // of the service's, how many are its own
	// FallbackSlots are those whose flows are its unless remembered elsewhere.
	FallbackSlots   uint32 `json:"fallback_slots"`
	RememberedFlows int    `json:"remembered_flows"` // under nat connections; as of flow_table.counted_at
	Drain           *Drain `json:"drain,omitempty"`  // absent where nobody drains it
	Source          string `json:"source"`
	Node            string `json:"node,omitempty"`
	ConsulID        string `json:"consul_id,omitempty"`
	NextHop         string `json:"next_hop,omitempty"` // "eth0 02:00:00:00:00:01"
	Rates           Rates  `json:"rates"`              // over the last few seconds
	NewFlows        uint64 `json:"new_flows"`
	Packets         uint64 `json:"packets"`
	Bytes           uint64 `json:"bytes"` // of IP, as the client sent it
}

// ReloadRequest is the body of POST /v1/reload.
type ReloadRequest struct {
	By string `json:"by,omitempty"`
}

// Reload is the answer: the configuration that runs from now on.
type Reload struct {
	SchemaVersion int       `json:"schema_version"`
	Path          string    `json:"path"`
	Loaded        time.Time `json:"loaded"`
	Services      int       `json:"services"`
	Warnings      []string  `json:"warnings"` // what is odd about it, and what only a restart can change
}

// Mistake is one mistake in a configuration.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0 is the file as a whole
	Column  int    `json:"column"`
	Source  string `json:"source"` // the line, with secrets masked
	Summary string `json:"summary"`
	Detail  string `json:"detail"`
}

// Problem is an error, as RFC 9457 writes one.
type Problem struct {
	Type   string `json:"type"` // "about:blank": the status says it all
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Path, Mistakes and Warnings are of a configuration that was not taken.
	Path     string    `json:"path,omitempty"`
	Mistakes []Mistake `json:"mistakes,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
}

// NewProblem says what kept a request from being carried out.
func NewProblem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

func (p *Problem) Error() string { return p.Detail }
