package main

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// scene is a daemon's answers with something of everything in them; or with nothing,
// if it is "empty", or with 1,000 services if it is a "crowd".
type scene struct{ state string }

func (s scene) Status() api.Status {
	view := noon.Add(-3 * time.Second)
	switch s.state {
	case "empty":
		return api.Status{SchemaVersion: 1, State: "ok", Version: "1.0", PID: 4242, Started: noon,
			Warnings: []string{}, Config: api.ConfigStatus{Path: "/etc/pointsman/pointsman.hcl", Loaded: noon}}
	case "crowd":
		return crowdStatus()
	}
	return api.Status{
		SchemaVersion: 1, State: s.state, Version: "1.0", PID: 4242, Started: noon.Add(-26 * time.Hour),
		Warnings: []string{"service web is degraded: 1 of 3 backends not up"},
		Config:   api.ConfigStatus{Path: "/etc/pointsman/pointsman.hcl", Loaded: noon.Add(-time.Hour)},
		Consul:   &api.ConsulStatus{Address: "https://127.0.0.1:8501", State: "ok", OldestView: &view},
		Interfaces: []api.Interface{
			{Name: "eth0", Mode: "native"},
			{Name: "eth1", Mode: "generic", Reason: "the driver refuses native mode: operation not supported"},
		},
		Services:     api.ServiceCounts{OK: 1, Degraded: 1},
		LastApply:    &api.Apply{At: noon.Add(-90 * time.Second), Steps: 5, ApplyMS: 1.25},
		DriftRepairs: 2, LastRepair: &api.Repair{At: noon.Add(-40 * time.Second), Found: "the program was detached from eth0"},
		Connections: api.ConnectionTable{Capacity: 262144, Open: 12},
		FlowTable:   api.FlowTable{Capacity: 1048576, Remembered: 33, CountedAt: noon.Add(-2 * time.Second), Inserted: 40, Refused: 1},
		Draining: []api.Draining{{
			Service: "web", Address: "10.20.0.14:443", Reason: "in maintenance in Consul", FallbackSlots: 21845, RememberedFlows: 33,
			Drain: api.Drain{Since: noon.Add(-5 * time.Minute), CutAt: noon.Add(5 * time.Minute)},
		}},
		Outcomes: map[string]uint64{"FORWARD": 900, "PASS_NOT_VIP": 1200, "DROP_TOO_BIG": 0},
	}
}

func (s scene) Services() []api.ServiceBackends {
	view := noon.Add(-3 * time.Second)
	switch s.state {
	case "empty":
		return nil
	case "crowd":
		return crowd()
	}
	return []api.ServiceBackends{
		{
			Service: api.Service{Name: "dns", Listen: []string{"192.0.2.53:53/udp", "192.0.2.53:53/tcp"}, Forward: "l2",
				State: "ok", Since: noon.Add(-time.Hour), BackendsUp: 1, BackendsTotal: 1, Packets: 12, Bytes: 840},
			Backends: []api.Backend{{Address: "10.20.0.11:53", Weight: 2, State: "up", Since: noon.Add(-time.Hour), Slots: 65537,
				Source: "file", NextHop: "eth0 02:00:00:00:00:01", Packets: 12, Bytes: 840}},
		},
		{
			Service: api.Service{Name: "web", Listen: []string{"[2001:db8:10::10]:443/tcp"}, Forward: "ipip",
				State: "degraded", Reason: "1 of 3 backends not up", Since: noon.Add(-time.Minute),
				Phases:     map[string]api.Phases{"tcp": {Settled: 43692, Moving: 21845}},
				BackendsUp: 1, BackendsTotal: 3, ViewConfirmed: &view, NewFlows: 7, Packets: 888, Bytes: 123456},
			Backends: []api.Backend{
				{Address: "10.20.0.12:443", Weight: 1, State: "up", Since: noon.Add(-49 * time.Hour), Slots: 65537, Source: "consul",
					Node: "n2", ConsulID: "web-2", NextHop: "eth1 02:00:00:00:00:02", NewFlows: 7, Packets: 888, Bytes: 123456},
				{Address: "10.20.0.13:443", State: "down", Reason: "probe: connection refused", Since: noon.Add(-time.Minute),
					Source: "consul", Node: "n3", ConsulID: "web-3"},
				{Address: "10.20.0.14:443", State: "drain", Reason: "in maintenance in Consul", Since: noon.Add(-5 * time.Minute),
					FallbackSlots: 21845, RememberedFlows: 33,
					Drain:  &api.Drain{Since: noon.Add(-5 * time.Minute), CutAt: noon.Add(5 * time.Minute)},
					Source: "consul", Node: "n4", ConsulID: "web-4"},
			},
		},
	}
}

func (s scene) Explain(client netip.AddrPort, to dataplane.VIP) (api.Explanation, error) {
	if to.Port != 443 || s.state == "empty" {
		return api.Explanation{}, api.NewProblem(http.StatusNotFound, to.String()+" is no VIP: its packets are the host's")
	}
	return moving, nil
}

var moving = api.Explanation{
	SchemaVersion: 1, Protocol: "tcp", Client: "198.51.100.7:40000", To: "192.0.2.10:443", VIP: "192.0.2.10:443/tcp", Service: "web",
	Forward: "ipip", SlotFrom: "5-tuple", Slot: 4711, Slots: 65537, Phase: "moving",
	Owner: &api.ExplainedBackend{Address: "10.20.0.12:443", State: "up"}, Fallback: &api.ExplainedBackend{Address: "10.20.0.14:443", State: "drain"},
	Packets: []api.ExplainedPacket{
		{Kind: "syn", Outcome: "FORWARD", Rule: "new owner", Why: "it owns the slot now", Backend: &api.ExplainedBackend{Address: "10.20.0.12:443", State: "up", NextHop: "eth1 02:00:00:00:00:02"}},
		{Kind: "other", Outcome: "DROP_NO_BACKEND", Rule: "fallback", Why: "no backend of web lives that could take it"},
	},
	Notes: []string{"a QUIC packet whose connection ID names a backend goes there instead"},
}

func (s scene) Flows(filter dataplane.PacketFilter, state string, limit int) (api.Flows, error) {
	if s.state == "empty" {
		return api.Flows{SchemaVersion: 1, Flows: []api.Flow{}}, nil
	}
	return connected, nil
}

var connected = api.Flows{
	SchemaVersion: 1, Capacity: 262144, Total: 3, States: map[string]int{"established": 2, "syn": 1},
	Flows: []api.Flow{
		{Protocol: "tcp", Client: "198.51.100.7:40000", VIP: "192.0.2.10:443", Service: "web", Source: "10.20.0.2:1024", Backend: "10.20.0.11:8443",
			State: "established", Begun: noon.Add(-time.Minute), Expires: noon.Add(2 * time.Hour)},
		{Protocol: "tcp", Client: "[2001:db8:7::7]:40000", VIP: "[2001:db8:10::10]:443", Source: "10.20.0.2:1025", Backend: "10.20.0.11:8444",
			State: "syn", Begun: noon, Expires: noon.Add(8 * time.Second)},
	},
}

func (s scene) Events(service string, since uint64) (api.Events, <-chan struct{}) {
	list := api.Events{SchemaVersion: 1, Generation: 8, Events: []api.Event{}}
	if s.state == "empty" {
		return list, nil
	}
	for _, e := range happened {
		if e.ID > since && (service == "" || e.Service == service) {
			list.Events = append(list.Events, e)
		}
	}
	return list, nil
}

var (
	consulSaid, applied = noon.Add(-25 * time.Millisecond), noon
	detected, carried   = 3.2, 1.14
	none                = uint16(0)
	happened            = []api.Event{
		{ID: 3, At: noon.Add(-time.Hour), Kind: "configuration", Level: "info", Text: "configuration taken"},
		{ID: 4, At: noon.Add(-time.Hour), Kind: "interface", Level: "warn", Text: "attached", Interface: "eth1", State: "generic", Reason: "the driver refuses native mode"},
		{ID: 5, At: noon, Kind: "backend", Level: "info", Text: "backend is down", Service: "web", Backend: "10.20.0.13:443", Was: "up", State: "down",
			Weight: &none, Reason: "critical in Consul", ConsulAt: &consulSaid, AppliedAt: &applied, DetectMS: &detected, ApplyMS: &carried},
		{ID: 6, At: noon, Kind: "override", Level: "info", Text: "drain begins", Service: "web", Backend: "10.20.0.14:443", By: "ada", Reason: "new kernel"},
		{ID: 7, At: noon, Kind: "backend", Level: "warn", Text: "backend is flapping", Service: "web", Backend: "10.20.0.13:443", State: "up", Changes: 19},
		{ID: 8, At: noon, Kind: "configuration", Level: "error", Text: "the configuration was not taken, the one before goes on", Reason: "pointsman.hcl:3:1: unknown key\n    3 | intervaces = 1"},
	}
)

func (s scene) Override(kind string, r api.OverrideRequest, by string) (api.Override, error) {
	if s.state == "empty" {
		return api.Override{}, api.NewProblem(http.StatusNotFound, `there is no service "web"; there are none`)
	}
	if r.Address != "10.20.0.14" {
		return api.Override{}, api.NewProblem(http.StatusNotFound, "service web has no backend "+r.Address+"; did you mean 10.20.0.14:443?")
	}
	return api.Override{SchemaVersion: 1, Service: r.Service, Address: "10.20.0.14:443", Kind: kind, Weight: r.Weight, State: "up", Reason: r.Reason, By: by,
		Since: noon, Until: noon.Add(time.Hour)}, nil
}

func (s scene) Lift(kind string, r api.LiftRequest, by string) (api.Override, error) {
	if s.state == "empty" {
		return api.Override{}, api.NewProblem(http.StatusNotFound, `there is no service "web"; there are none`)
	}
	if r.Address != "10.20.0.14" {
		return api.Override{}, api.NewProblem(http.StatusConflict, "no operator "+kind+"s "+r.Address)
	}
	return api.Override{SchemaVersion: 1, Service: r.Service, Address: "10.20.0.14:443", Kind: kind}, nil
}

func (s scene) Overrides(service, address string) (api.Overrides, error) {
	list := api.Overrides{SchemaVersion: 1, Overrides: []api.Override{}}
	if s.state == "empty" {
		return list, nil
	}
	for _, o := range wished {
		if (service == "" || o.Service == service) && (address == "" || o.Address == address) {
			list.Overrides = append(list.Overrides, o)
		}
	}
	return list, nil
}

func (s scene) Generation() (uint64, <-chan struct{}) { return 8, nil }

func (s scene) Rates(string) (api.RateHistory, error) { return api.RateHistory{SchemaVersion: 1}, nil }

func (s scene) Clear(r api.ClearRequest, by string) (api.Overrides, error) {
	return s.Overrides(r.Service, r.Address)
}

var wished = []api.Override{
	{SchemaVersion: 1, Service: "dns", Address: "10.20.0.9:53", Kind: "disable", State: "gone", By: "ada as root", Since: noon.Add(-time.Minute), Until: noon.Add(time.Hour)},
	{SchemaVersion: 1, Service: "web", Address: "10.20.0.12:443", Kind: "weight", Weight: 7, State: "up", By: "root", Reason: "new release, carefully", Since: noon, Until: noon.Add(30 * time.Minute)},
	{SchemaVersion: 1, Service: "web", Address: "10.20.0.14:443", Kind: "drain", State: "drain", By: "ada", Reason: "new kernel", Since: noon.Add(-time.Hour), Until: noon.Add(90 * time.Second)},
}

// Plan finds the same mistake, or changes while the scene is ok.
func (s scene) Plan(ctx context.Context) (api.Plan, error) {
	switch s.state {
	case "degraded":
		_, err := s.Reload(ctx, "")
		return api.Plan{}, err
	case "ok":
		return changing, nil
	}
	return api.Plan{SchemaVersion: 1, Path: "/etc/pointsman/pointsman.hcl"}, nil
}

var changing = api.Plan{
	SchemaVersion: 1, Path: "/etc/pointsman/pointsman.hcl", Changes: true, Interfaces: []string{"+eth1"},
	Warnings: []string{"limits changed in the file, which takes effect when the daemon is started again"},
	Services: []api.PlannedService{
		{Name: "new", Change: "added", VIPs: []string{"+192.0.2.14:443/tcp"}, Unknown: "waiting for Consul's first answer"},
		{Name: "web", Change: "changed", Settings: []string{"forward ipip -> l2"}, MovedShare: 0.347,
			Backends: []api.PlannedBackend{{Address: "10.20.0.15:443", Change: "added", Detail: "up, weight 1"}}},
	},
}

// Reload finds a mistake while the scene is degraded.
func (s scene) Reload(context.Context, string) (api.Reload, error) {
	if s.state == "degraded" {
		problem := api.NewProblem(http.StatusUnprocessableEntity, "it has mistakes")
		problem.Path = "/etc/pointsman/pointsman.hcl"
		problem.Mistakes = []api.Mistake{{File: problem.Path, Line: 10, Column: 3, Source: `  forwrad = "ipip"`, Summary: `unknown key "forwrad" in service "web"`, Detail: `did you mean "forward"?`}}
		return api.Reload{}, problem
	}
	return api.Reload{SchemaVersion: 1, Path: "/etc/pointsman/pointsman.hcl", Loaded: noon, Services: 2,
		Warnings: []string{"limits changed in the file, which takes effect when the daemon is started again"}}, nil
}

func (s scene) Drops(ctx context.Context, reasons []string, _ dataplane.PacketFilter, tell func(api.Drop) error) error {
	if len(reasons) > 0 && reasons[0] != "DROP_NO_BACKEND" {
		return api.NewProblem(http.StatusNotFound, "packets are not dropped for "+reasons[0])
	}
	for _, d := range append([]api.Drop{{}}, dropped...) {
		if err := tell(d); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

var dropped = []api.Drop{
	{SchemaVersion: 1, At: &noon, Reason: "DROP_NO_BACKEND", Interface: "eth0", Length: 74, Protocol: "tcp", Source: "198.51.100.7:40000", Destination: "192.0.2.10:443"},
	{SchemaVersion: 1, NotShown: 1},
	{SchemaVersion: 1, At: &noon, Reason: "DROP_UNREADABLE", Interface: "eth1", Length: 60, VLAN: []int{100, 7}, Protocol: "udp", Source: "2001:db8:7::7", Destination: "2001:db8:10::10", NotShown: 41},
	{SchemaVersion: 1, At: &noon, Reason: "DROP_BAD_LENGTH", Interface: "eth0", Length: 34, NotShown: 2},
}
