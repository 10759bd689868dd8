package api

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "pointsman"

// describe names a metric once; its labels are in the order of the values.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// The metrics that a scrape computes; Timings has the others.
var (
	buildInfo     = describe("build_info", "The version that runs; always 1.", "version", "goversion")
	startTime     = describe("start_time_seconds", "When the daemon was started, in seconds since 1970.")
	reloadSuccess = describe("config_last_reload_success", "1 unless the file has mistakes and the one before it goes on.")
	reloadTime    = describe("config_last_reload_timestamp_seconds", "When the file that runs was read, in seconds since 1970.")
	generation    = describe("generation", "How often the tables were changed since the daemon was started.")

	serviceUp       = describe("service_up", "1 where some backend of a service takes new flows.", "service")
	servicePanic    = describe("service_panic", "1 where so few backends are well that health is ignored.", "service")
	serviceBackends = describe("service_backends", "Backends of a service by state; states without any are left out.", "service", "state")
	serviceSlots    = describe("service_slots", "Slots of a service by phase.", "service", "protocol", "phase")
	servicePackets  = describe("service_packets_total", "Packets forwarded for a service since the daemon was started.", "service")
	serviceBytes    = describe("service_bytes_total", "Bytes of IP forwarded for a service since the daemon was started, as clients sent them.", "service")
	serviceFlows    = describe("service_new_flows_total", "TCP SYNs forwarded for a service since the daemon was started.", "service")

	serviceDropped = describe("service_dropped_packets_total", "Packets for a service that went nowhere, since it was added; reasons without any are left out.", "service", "reason")

	backendUp      = describe("backend_up", "1 where a backend takes new flows.", "service", "backend")
	backendInfo    = describe("backend_info", "Where a backend is in Consul; always 1.", "service", "backend", "node", "consul_id")
	backendWeight  = describe("backend_weight", "The weight of a backend; 0 where it takes no new flows.", "service", "backend")
	backendPackets = describe("backend_packets_total", "Packets forwarded to a backend since it was added.", "service", "backend")
	backendBytes   = describe("backend_bytes_total", "Bytes of IP forwarded to a backend since it was added, as clients sent them.", "service", "backend")
	backendFlows   = describe("backend_new_flows_total", "TCP SYNs forwarded to a backend since it was added.", "service", "backend")
	backendChanges = describe("backend_state_changes_total", "How often a backend came to be in a state.", "service", "backend", "to")

	packetsTotal  = describe("packets_total", "Packets by what became of them, since the maps were made. The interface is that which they came by; of those that were forwarded it is not counted.", "interface", "verdict", "reason")
	attached      = describe("interface_attached", "1 where the program sees an interface's packets, in the driver (native) or behind it (generic).", "interface", "mode")
	flowEntries   = describe("flow_table_entries", "Flows that are remembered, as of the last count.")
	flowCapacity  = describe("flow_table_capacity", "Flows that can be remembered.")
	flowInserts   = describe("flow_table_inserts_total", "Flows that were remembered, since the maps were made.")
	flowEvictions = describe("flow_table_evictions_total", "Flows that were remembered in the place of an expired one, since the maps were made.")
	flowRefusals  = describe("flow_table_refusals_total", "Flows that were not remembered for want of room, since the maps were made.")
	natOpen       = describe("nat_connections", "Connections of forward = nat, as of the last count.")
	natCapacity   = describe("nat_connections_capacity", "Connections of forward = nat that there can be.")
	mapErrors     = describe("map_errors_total", "Changes of the tables that failed, and were tried again, by the map that refused.", "map")
	driftRepairs  = describe("drift_repairs_total", "Times that something was found otherwise than the daemon had left it, and mended.")

	consulUp       = describe("consul_up", "1 while Consul confirms the backends of every service that asks it.")
	consulAge      = describe("consul_view_age_seconds", "How long ago Consul confirmed the backends of a service.", "service")
	consulWatches  = describe("consul_watches", "Questions to Consul that wait for a change.")
	consulRequests = describe("consul_requests_total", "Questions to Consul by result.", "result")
	rejections     = describe("instances_rejected_total", "How often an instance came to be rejected as a backend of a service, by reason.", "service", "reason")
	consulHolds    = describe("consul_holds_total", "Answers of Consul that were not used, by reason.", "reason")
)

// metrics are what a scrape sees of a daemon. They are made from its answers
// when they are asked for, so that what is gone vanishes.
type metrics struct{ source Measured }

// Describe says nothing beforehand: which there are depends on the source.
func (m metrics) Describe(chan<- *prometheus.Desc) {}

// Collect asks the source. Counters that cannot be read fail the scrape: zeroes
// would look like a new start.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	c := collecting{out}
	now, err := m.source.Measure()
	if err != nil {
		out <- prometheus.NewInvalidMetric(packetsTotal, fmt.Errorf("reading the counters: %w", err))
		return
	}
	c.daemon(now)
	c.dataPlane(now.Status)
	if now.Status.Consul != nil {
		c.consul(now.Status.Consul.State, now.Consul)
	}
	for _, s := range now.Services {
		c.service(s)
		c.traffic(s.Name, now.Traffic[s.Name])
		for reason, n := range now.Rejections[s.Name] {
			c.counter(rejections, n, s.Name, reason)
		}
		if !now.NoBackends {
			c.backends(s, now.StateChanges)
		}
	}
}

// collecting writes metrics to one scrape.
type collecting struct{ out chan<- prometheus.Metric }

func (c collecting) gauge(d *prometheus.Desc, value float64, labels ...string) {
	c.write(d, prometheus.GaugeValue, value, labels)
}

func (c collecting) counter(d *prometheus.Desc, value uint64, labels ...string) {
	c.write(d, prometheus.CounterValue, float64(value), labels)
}

// write takes names from elsewhere as they are, as far as Prometheus can.
func (c collecting) write(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
	}
	c.out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
}

func (c collecting) daemon(now Measurements) {
	status := now.Status
	c.gauge(buildInfo, 1, status.Version, runtime.Version())
	c.gauge(startTime, seconds(status.Started))
	c.gauge(reloadSuccess, one(status.Config.Error == ""))
	c.gauge(reloadTime, seconds(status.Config.Loaded))
	c.gauge(generation, float64(now.Generation))
	for name, failures := range now.WriteFailures {
		c.counter(mapErrors, failures, name)
	}
	c.counter(driftRepairs, uint64(status.DriftRepairs))
}

func (c collecting) dataPlane(status Status) {
	for outcome, packets := range status.Outcomes {
		c.packets(status.Interfaces, outcome, packets)
	}
	for _, i := range status.Interfaces {
		c.gauge(attached, one(i.Mode != missing), i.Name, i.Mode)
	}
	c.gauge(flowEntries, float64(status.FlowTable.Remembered))
	c.gauge(flowCapacity, float64(status.FlowTable.Capacity))
	c.counter(flowInserts, status.FlowTable.Inserted)
	c.counter(flowEvictions, status.FlowTable.Evicted)
	c.counter(flowRefusals, status.FlowTable.Refused)
	c.gauge(natOpen, float64(status.Connections.Open))
	c.gauge(natCapacity, float64(status.Connections.Capacity))
}

// packets are those that met an outcome, by interface. The rest came by interfaces that
// the program is on no more.
func (c collecting) packets(interfaces []Interface, outcome string, packets uint64) {
	word := verdict(outcome)
	for _, i := range interfaces {
		if word == "forward" {
			break
		}
		came := i.Outcomes[outcome]
		c.counter(packetsTotal, came, i.Name, word, outcome)
		packets -= came
	}
	c.counter(packetsTotal, packets, "", word, outcome)
}

// verdict is the first word of an outcome's name: forward, pass, reply, hold or drop.
func verdict(outcome string) string {
	word, _, _ := strings.Cut(outcome, "_")
	return strings.ToLower(word)
}

func (c collecting) consul(state string, counts ConsulCounts) {
	c.gauge(consulUp, one(state == "ok"))
	c.gauge(consulWatches, float64(counts.Watches))
	for result, n := range counts.Requests {
		c.counter(consulRequests, n, result)
	}
	for reason, n := range counts.Holds {
		c.counter(consulHolds, n, reason)
	}
}

func (c collecting) service(s ServiceBackends) {
	c.gauge(serviceUp, one(s.BackendsUp > 0), s.Name)
	c.gauge(servicePanic, one(s.Panic), s.Name)
	if s.ViewConfirmed != nil {
		c.gauge(consulAge, time.Since(*s.ViewConfirmed).Seconds(), s.Name)
	}
	for protocol, p := range s.Phases {
		for phase, slots := range map[string]uint32{"settled": p.Settled, "moving": p.Moving, "learning": p.Learning, "settling": p.Settling} {
			c.gauge(serviceSlots, float64(slots), s.Name, protocol, phase)
		}
	}
	for reason, packets := range s.Dropped {
		c.counter(serviceDropped, packets, s.Name, reason)
	}
	states := map[string]int{}
	for _, b := range s.Backends {
		states[b.State]++
	}
	for state, n := range states {
		c.gauge(serviceBackends, float64(n), s.Name, state)
	}
}

func (c collecting) traffic(service string, t Traffic) {
	c.counter(servicePackets, t.Packets, service)
	c.counter(serviceBytes, t.Bytes, service)
	c.counter(serviceFlows, t.NewFlows, service)
}

// backends are those that may be one. Of instances that are rejected several can have
// one address, which would be one series.
func (c collecting) backends(s ServiceBackends, changes map[BackendName]map[string]uint64) {
	seen := map[string]bool{}
	for _, b := range s.Backends {
		if b.State != "rejected" && !seen[b.Address] {
			seen[b.Address] = true
			c.backend(s.Name, b, changes)
		}
	}
}

func (c collecting) backend(service string, b Backend, changes map[BackendName]map[string]uint64) {
	c.gauge(backendUp, one(b.State == "up"), service, b.Address)
	c.gauge(backendWeight, float64(b.Weight), service, b.Address)
	c.counter(backendPackets, b.Packets, service, b.Address)
	c.counter(backendBytes, b.Bytes, service, b.Address)
	c.counter(backendFlows, b.NewFlows, service, b.Address)
	if b.Node != "" || b.ConsulID != "" {
		c.gauge(backendInfo, 1, service, b.Address, b.Node, b.ConsulID)
	}
	counts := changes[BackendName{service, b.Address}]
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		c.counter(backendChanges, counts[state], service, b.Address, state)
	}
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
