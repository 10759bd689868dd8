package controlplane

import (
	"cmp"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// Status is the daemon on one page, for the API.
func (d *daemon) Status() api.Status {
	counters, err := d.plane.Counters()
	if err != nil {
		d.log.Error("the counters cannot be read", "reason", err)
		return d.status(d.published.Load(), nil)
	}
	return d.status(d.published.Load(), &counters)
}

// status is a page with what was counted; nil where that cannot be read.
func (d *daemon) status(p *page, counters *dataplane.Counters) api.Status {
	status := api.Status{
		State: "ok", Warnings: p.warnings(), Version: d.version, PID: os.Getpid(), Started: d.started,
		Config:      api.ConfigStatus{Path: d.path, Loaded: p.loaded.at},
		Consul:      p.consul(d.consulAddress()),
		Interfaces:  p.interfaces(counters),
		Outcomes:    map[string]uint64{},
		FlowTable:   api.FlowTable{Capacity: p.flowLimit, Remembered: p.census.flows, CountedAt: p.census.at},
		Connections: api.ConnectionTable{Capacity: p.connectionLimit, Open: p.census.connections, CountedAt: p.census.at},
		Draining:    p.draining(),
		Process:     process(),
	}
	status.DriftRepairs = p.drift.repairs
	if p.drift.repairs > 0 {
		status.LastRepair = &api.Repair{At: p.drift.at, Found: p.drift.found}
	}
	if p.refused != nil {
		status.Config.Error = p.refused.Error()
	}
	for _, s := range p.report.Services {
		state, _ := p.judge(s)
		count(&status.Services, state)
	}
	if a := p.lastApply; a != nil {
		status.LastApply = &api.Apply{At: a.at, Steps: a.steps, ApplyMS: milliseconds(a.took)}
		if a.err != nil {
			status.LastApply.Error = a.err.Error()
		}
	}
	if counters != nil {
		status.Warnings = append(status.Warnings, p.samples.drops(time.Now(), counters.Outcomes)...)
		status.Outcomes = counters.Outcomes
		status.FlowTable.Inserted = counters.Flows.Inserted
		status.FlowTable.Evicted = counters.Flows.Evicted
		status.FlowTable.Refused = counters.Flows.Refused
	}
	if len(status.Warnings) > 0 {
		status.State = "degraded"
	}
	return status
}

func process() api.Process {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	return api.Process{Goroutines: runtime.NumGoroutine(), HeapBytes: heap[0].Value.Uint64()}
}

func count(counts *api.ServiceCounts, state desired.ServiceState) {
	switch state {
	case desired.OK:
		counts.OK++
	case desired.Degraded:
		counts.Degraded++
	case desired.Down:
		counts.Down++
	case desired.Waiting:
		counts.Waiting++
	}
}

// warnings are one sentence for each thing that is not as it should be.
func (p *page) warnings() []string {
	all := []string{}
	if p.refused != nil {
		all = append(all, "the configuration was not taken, the one before goes on:\n"+p.refused.Error())
	}
	all = append(all, p.loaded.pending...)
	if p.lastApply != nil && p.lastApply.err != nil {
		all = append(all, "the tables could not be written: "+p.lastApply.err.Error())
	}
	if p.attachErr != nil {
		all = append(all, strings.Split(p.attachErr.Error(), "\n")...)
	}
	if text := p.unkept(); text != "" {
		all = append(all, text)
	}
	if text := p.unserved(); text != "" {
		all = append(all, "metrics are not served: "+text)
	}
	for _, s := range p.report.Services {
		if view := p.views[s.Name]; view.stale {
			all = append(all, view.warning(s.Name))
		}
		if state, reason := p.judge(s); state != desired.OK {
			all = append(all, fmt.Sprintf("service %s is %s: %s", s.Name, state, reason))
		}
	}
	return all
}

// warning says that a view may be out of date: why in a word, since when, and why.
func (v view) warning(service string) string {
	text := fmt.Sprintf("Consul's view of service %s is held", service)
	if v.Reason != "" {
		text += fmt.Sprintf(" (%s)", v.Reason)
	}
	if v.Known() {
		text += ", stale since " + v.At.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s: %v", text, v.Err)
}

// consul sums the views up; nil where no service asks Consul.
func (p *page) consul(address string) *api.ConsulStatus {
	if len(p.views) == 0 {
		return nil
	}
	status := &api.ConsulStatus{Address: address, State: "ok", Held: map[string]string{}}
	for service, view := range p.views {
		if view.stale {
			status.State = "stale"
			status.Held[service] = cmp.Or(string(view.Reason), "no answer yet")
			if at := view.At; view.Known() && (status.StaleSince == nil || at.Before(*status.StaleSince)) {
				status.StaleSince = &at
			}
		}
		if at := view.At; view.Known() && (status.OldestView == nil || at.Before(*status.OldestView)) {
			status.OldestView = &at
		}
	}
	return status
}

// interfaces are those of the file, also where the program could not be attached.
func (p *page) interfaces(counters *dataplane.Counters) []api.Interface {
	all := []api.Interface{}
	for _, name := range p.loaded.file.Interfaces {
		i := slices.IndexFunc(p.attached, func(a dataplane.Attachment) bool { return a.Interface == name })
		if i < 0 {
			all = append(all, api.Interface{Name: name, Mode: "missing", Reason: "the program is not attached yet"})
			continue
		}
		at := api.Interface{Name: name, Mode: p.attached[i].Mode, Reason: p.attached[i].Reason}
		if counters != nil {
			at.Outcomes = counters.ByInterface[p.attached[i].Index]
		}
		all = append(all, at)
	}
	return all
}
