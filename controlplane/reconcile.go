package controlplane

import (
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/health"
	"github.com/pointsman/pointsman/dataplane"
)

// applyMargin is how many seconds a change may take from being decided to its
// last step. Phases begin at that second: one that began before its owners were
// written could be over before the last flow that it protects.
const applyMargin = 2

// reconcile decides what the data plane should hold and makes it so. A failure
// leaves what runs as it is: the tables are read again, since nobody knows what
// the failed step did, and the next call continues from there.
func (d *daemon) reconcile(arrived time.Time) {
	looked := time.Now()
	if arrived.IsZero() {
		arrived = looked
	}
	if !d.readAgain() {
		return
	}
	heard := d.heard()
	d.follow(heard)
	d.want, d.report = desired.Merge(d.input(looked, heard))
	d.keepDrains()
	d.want.Second, d.decided = d.second()+applyMargin, true
	d.want.NAT, d.want.Ingress = natSettings(d.loaded.file.NAT), d.ingress()
	d.want.Doubted, d.verifying.wrong = d.verifying.wrong, nil
	var steps []dataplane.Step
	steps, d.problems = dataplane.Diff(d.tables, d.narrowed(heard))
	if len(steps) == 0 && d.writing.failures > 0 {
		d.tellOfTables(slog.LevelInfo, "the tables are as they should be again", nil)
		d.writing.succeeded()
		d.lastApply = d.lastApply.healed()
	}
	if len(steps) > 0 {
		if err := d.write(steps); err != nil {
			return
		}
	}
	d.exact = true
	d.publish() // who reads a line of the log may ask about it at once
	d.journal.changes(d.report, causes{d: d, looked: looked, arrived: arrived})
}

// write carries the steps out, and remembers when to try again if it cannot.
func (d *daemon) write(steps []dataplane.Step) error {
	began := time.Now()
	if err := d.carryOut(steps); err != nil {
		return err
	}
	took := time.Since(began)
	d.lastApply = &applied{at: began, steps: len(steps), took: took}
	d.timings.Applied(took)
	if !d.consulSaid.IsZero() {
		d.timings.Converged(time.Since(d.consulSaid))
	}
	if d.writing.failures > 0 {
		d.tellOfTables(slog.LevelInfo, "the tables are written again", nil)
	}
	d.writing.succeeded()
	return nil
}

// carryOut makes steps true, and looks at what they touched.
func (d *daemon) carryOut(steps []dataplane.Step) error {
	began := time.Now()
	apply := func() error { return dataplane.Apply(d.tables, steps, d.plane) }
	if err := d.traffic.during(d.tables, steps, apply); err != nil {
		d.failedToWrite(err)
		d.lastApply = &applied{at: began, steps: len(steps), took: time.Since(began), err: err}
		d.tables, d.exact = nil, false
		d.tellOfTables(slog.LevelError, "the tables could not be written", err, "retry_in", d.writing.failed())
		return err
	}
	d.generation++
	d.placed = maps.Clone(d.placed)
	d.placed.count(d.tables, touched(d.tables, steps))
	d.settling.notice(d.tables)
	return nil
}

// failedToWrite counts a failure for the map that it is about.
func (d *daemon) failedToWrite(err error) {
	var failed *dataplane.WriteError
	if errors.As(err, &failed) {
		if d.writeFailures == nil {
			d.writeFailures = map[string]uint64{}
		}
		d.writeFailures[dataplane.MapOf(failed.Step)]++
	}
}

// readAgain reads the tables where a failure left them in doubt.
func (d *daemon) readAgain() bool {
	if d.tables != nil {
		return true
	}
	tables, err := d.plane.Tables()
	if err != nil {
		d.tellOfTables(slog.LevelError, "the tables cannot be read", err, "retry_in", d.writing.failed())
		return false
	}
	d.hold(tables)
	return true
}

// tellOfTables tells of what could not be done, or could again.
func (d *daemon) tellOfTables(level slog.Level, text string, err error, more ...any) {
	e := api.Event{Kind: kindTables, Text: text}
	if err != nil {
		e.Reason = err.Error()
	}
	d.events.tell(level, e, more...)
}

// follow has the candidates probed and their next hops looked up.
func (d *daemon) follow(heard map[string]bool) {
	fresh := byService(desired.Candidates(d.facts(heard)))
	if heard == nil {
		d.followed = d.followed && maps.EqualFunc(d.candidates, fresh, slices.Equal)
		d.candidates = fresh
	}
	for name := range heard {
		d.followed = d.followed && slices.Equal(d.candidates[name], fresh[name])
		d.candidates[name] = fresh[name]
	}
	if d.followed {
		return
	}
	d.followed = true
	checks := map[string]*config.Check{}
	for _, s := range d.loaded.file.Services {
		checks[s.Name] = s.Health
	}
	probes := map[health.Backend]health.Check{}
	for name, candidates := range d.candidates {
		for _, c := range candidates {
			if own := checks[name]; own != nil {
				probes[probed(c.Key)] = check(*own)
			}
		}
	}
	d.prober.Set(probes)
	d.hops.Set(addresses(d.candidates), ingress(d.loaded.file.Interfaces, d.attach.done))
}

// facts are what is known of the services that were heard of, nil for all, without
// asking the prober and the next hops.
func (d *daemon) facts(heard map[string]bool) desired.Input {
	in := d.factsFor(d.loaded.file, d.services, d.view, heard)
	in.Heard, in.Decided = heard, d.want
	return in
}

// factsFor are the facts for a file with these services, whose views view knows.
func (d *daemon) factsFor(file *config.File, services []desired.Service, view func(service string) view, heard map[string]bool) desired.Input {
	in := desired.Input{
		Ingress:   d.ingress(),
		Services:  services,
		VIPPools:  file.VIPPools,
		Views:     map[string]desired.View{},
		Overrides: d.overrides.list(),
		Before:    d.report,
		Began:     d.recalling.drains,
	}
	for _, s := range file.Services {
		if heard != nil && !heard[s.Name] {
			continue
		}
		if s.Consul == nil {
			in.Views[s.Name] = desired.View{Known: true, Instances: staticInstances(s)}
			continue
		}
		seen := view(s.Name)
		in.Views[s.Name] = desired.View{Known: seen.Known(), Instances: seen.instances(), Nobody: query(*s.Consul).Nobody()}
	}
	return in
}

// input is all that is known now of the services that were heard of.
func (d *daemon) input(now time.Time, heard map[string]bool) desired.Input {
	in := d.facts(heard)
	in.Now = now
	var candidates []desired.Candidate
	for name := range in.Views {
		candidates = append(candidates, d.candidates[name]...)
	}
	in.Verdicts, in.Hops = d.look(candidates)
	if heard == nil || slices.ContainsFunc(d.report.Services, func(s desired.ServiceReport) bool { return !s.Ready }) {
		in.Held = held(d.tables)
	}
	return in
}

// look asks the prober and the next hops about candidates.
func (d *daemon) look(candidates []desired.Candidate) (map[desired.Key]desired.Verdict, map[netip.Addr]desired.Hop) {
	verdicts := make(map[desired.Key]desired.Verdict, len(candidates))
	hops := make(map[netip.Addr]desired.Hop, len(candidates))
	for _, c := range candidates {
		verdicts[c.Key] = verdict(d.prober.Verdict(probed(c.Key)))
		if way, known := d.hops.Lookup(c.Addr); known {
			hops[c.Addr] = hop(way)
		}
	}
	return verdicts, hops
}
