package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// planning asks the loop what it would make of a file.
type planning struct {
	file   *config.File
	answer chan api.Plan // has room for it
}

// Plan reads the configuration file and says, for the API, what it would change in
// what runs. It changes nothing.
func (d *daemon) Plan(ctx context.Context) (api.Plan, error) {
	file, warnings, err := d.reloader.load(ctx)
	var mistakes config.Errors
	switch {
	case errors.As(err, &mistakes):
		return api.Plan{}, mistaken(d.path, mistakes, warnings)
	case err != nil:
		return api.Plan{}, err
	}
	asked := planning{file, make(chan api.Plan, 1)}
	d.inbox.put(func(m *mail) { m.plans = append(m.plans, asked) })
	select {
	case <-ctx.Done():
		return api.Plan{}, fmt.Errorf("waiting for the plan: %w", ctx.Err())
	case plan := <-asked.answer:
		if plan.Path == "" {
			return plan, api.NewProblem(http.StatusServiceUnavailable, "nothing is decided yet: the daemon has just started, or its tables cannot be read; ask again")
		}
		plan.Warnings = append(slices.Concat([]string{}, warnings), plan.Warnings...)
		return plan, nil
	}
}

// foresee decides by another file than the one that runs, and does nothing of it.
func (d *daemon) foresee(file *config.File) api.Plan {
	if d.tables == nil || !d.decided {
		return api.Plan{}
	}
	services := declaredServices(file)
	in := d.factsFor(file, services, d.viewsFor(file), nil)
	in.Now, in.Held = time.Now(), held(d.tables)
	in.Services = slices.Clone(services)
	for i := range in.Services {
		in.Services[i].SlowStart = 0 // how it ends
	}
	d.assume(&in)
	want, report := desired.Merge(in)
	want.Second, want.NAT, want.Ingress = d.second(), natSettings(file.NAT), d.ingress()
	steps, problems := dataplane.Diff(d.tables, want)
	c := comparison{
		before: named(d.services), after: named(services), was: d.report, is: report,
		moved: dataplane.Foresee(d.tables, steps), problems: problems,
	}
	plan := api.Plan{
		SchemaVersion: api.SchemaVersion, Path: d.path, Services: c.services(),
		Interfaces: gainsAndLosses(d.loaded.file.Interfaces, file.Interfaces),
		Warnings:   restartNeeded(d.first, file),
	}
	plan.Changes = len(plan.Services)+len(plan.Interfaces) > 0
	return plan
}

// assume takes what nobody has looked at yet for well and reachable.
func (d *daemon) assume(in *desired.Input) {
	candidates := desired.Candidates(*in)
	in.Verdicts, in.Hops = d.look(candidates)
	for _, c := range candidates {
		if in.Verdicts[c.Key].Health == desired.Unknown {
			in.Verdicts[c.Key] = desired.Verdict{Health: desired.Well}
		}
		if _, known := in.Hops[c.Addr]; !known {
			in.Hops[c.Addr] = desired.Hop{Hop: dataplane.Hop{Interface: 1, MTU: 1500, Source: c.Addr}}
		}
	}
}

// viewsFor knows the views of services of a file that ask Consul what a service of
// the one that runs asks, whatever its name.
func (d *daemon) viewsFor(file *config.File) func(service string) view {
	asking := make(map[question]string)
	for _, s := range d.loaded.file.Services {
		if s.Consul != nil {
			asking[asked(d.loaded.file.Consul, *s.Consul)] = s.Name
		}
	}
	return func(service string) view {
		for _, s := range file.Services {
			if s.Name != service {
				continue
			}
			if same, known := asking[asked(file.Consul, *s.Consul)]; known {
				return d.view(same)
			}
		}
		return view{}
	}
}

// comparison is what runs beside what would.
type comparison struct {
	before, after map[string]desired.Service // as declared
	was, is       desired.Report
	moved         map[string]float64
	problems      []dataplane.Problem
}

func named(services []desired.Service) map[string]desired.Service {
	all := make(map[string]desired.Service, len(services))
	for _, s := range services {
		all[s.Name] = s
	}
	return all
}

func (c comparison) services() []api.PlannedService {
	names := make(map[string]bool)
	for _, one := range []map[string]desired.Service{c.before, c.after} {
		for name := range one {
			names[name] = true
		}
	}
	planned := []api.PlannedService{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if s, changes := c.service(name); changes {
			planned = append(planned, s)
		}
	}
	return planned
}

func (c comparison) service(name string) (s api.PlannedService, changes bool) {
	before, was := c.before[name]
	after, is := c.after[name]
	s = api.PlannedService{
		Name: name, Change: "changed", VIPs: gainsAndLosses(vipNames(before), vipNames(after)),
		Settings: []string{}, Backends: []api.PlannedBackend{}, MovedShare: c.moved[name],
	}
	switch {
	case !was:
		s.Change = "added"
	case !is:
		s.Change = "removed"
	default:
		s.Settings = differentSettings(before, after)
	}
	now, _ := c.was.Service(name)
	then, _ := c.is.Service(name)
	if then.State == desired.Waiting {
		s.Unknown = then.Reason
	} else {
		s.Backends = differentBackends(now.Backends, then)
	}
	for _, problem := range c.problems {
		if problem.Service == name {
			s.Unknown = problem.Text
		}
	}
	return s, s.Change != "changed" || len(s.VIPs)+len(s.Settings)+len(s.Backends) > 0
}

func vipNames(s desired.Service) (names []string) {
	for _, vip := range s.VIPs {
		names = append(names, vip.String())
	}
	return names
}

// gainsAndLosses are what a list would have more and less: "+new", "-old".
func gainsAndLosses(before, after []string) []string {
	changes := []string{}
	for _, name := range after {
		if !slices.Contains(before, name) {
			changes = append(changes, "+"+name)
		}
	}
	for _, name := range before {
		if !slices.Contains(after, name) {
			changes = append(changes, "-"+name)
		}
	}
	return changes
}

// differentSettings are those that would change, with what they are and will be.
func differentSettings(before, after desired.Service) []string {
	changes := []string{}
	say := func(name string, was, is any) {
		if was != is {
			changes = append(changes, fmt.Sprintf("%s %v -> %v", name, was, is))
		}
	}
	say("forward", before.Forward, after.Forward)
	say("slots", before.Slots, after.Slots)
	say("tracking", before.Tracking, after.Tracking)
	say("affinity client", before.AffinityClient, after.AffinityClient)
	say("quic", before.QUIC, after.QUIC)
	say("panic_threshold", before.PanicThreshold, after.PanicThreshold)
	say("idle_timeout", before.IdleTimeout, after.IdleTimeout)
	say("drain_timeout", before.DrainTimeout, after.DrainTimeout)
	say("slow_start", before.SlowStart, after.SlowStart)
	say("probed", before.Probed, after.Probed)
	return changes
}

// differentBackends are those that come or go, or have another state or weight.
func differentBackends(now []desired.BackendReport, then desired.ServiceReport) []api.PlannedBackend {
	changes := []api.PlannedBackend{}
	before := desired.ServiceReport{Backends: now}
	for _, b := range then.Backends {
		was, known := before.Find(b)
		switch {
		case !known:
			changes = append(changes, api.PlannedBackend{Address: address(b), Change: "added", Detail: standingOf(b)})
		case standingOf(was) != standingOf(b):
			changes = append(changes, api.PlannedBackend{Address: address(b), Change: "changed", Detail: standingOf(was) + " -> " + standingOf(b)})
		}
	}
	for _, b := range now {
		if _, stays := then.Find(b); !stays {
			changes = append(changes, api.PlannedBackend{Address: address(b), Change: "removed", Detail: standingOf(b)})
		}
	}
	return changes
}

// standingOf is a backend's state and weight; of one that is rejected also why.
func standingOf(b desired.BackendReport) string {
	if b.State == desired.BackendRejected {
		return string(b.State) + ": " + b.Reason
	}
	return fmt.Sprintf("%s, weight %d", b.State, b.Weight)
}
