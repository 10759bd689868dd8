package controlplane

import (
	"errors"
	"log/slog"
	"maps"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/dataplane"
)

// recallAfter is how long Consul may take to answer before its last word to an
// earlier daemon counts. Where it says sooner that it cannot, it counts at once.
const recallAfter = 3 * time.Second

// recalling is what the loop knows from before it began.
type recalling struct {
	notes    lastKnown
	found    map[string]*desired.Found // in the kernel, by service, when the loop began
	after    time.Time                 // when notes count without a word from Consul; zero: they do
	answered map[question]bool         // since the loop began: the note is of the past
	used     map[string]recalled       // by service
	drains   map[desired.Drained]time.Time
}

// recalled is what stands for Consul's word about a service.
type recalled struct {
	question  question
	confirmed time.Time
	instances []desired.Instance // nil where the note is not used
}

// view is Consul's word about a service as far as it is known.
type view struct {
	consul.View
	stale    bool               // it may be out of date
	recalled []desired.Instance // that stand for Consul's word; nil where that is heard
}

// view is what there is to know about the backends of a service that asks Consul.
func (d *daemon) view(service string) view {
	now := d.views[d.watchNames[service]]
	old, noted := d.recalling.used[service]
	if now.Known() || !noted || old.instances == nil {
		return view{View: now, stale: now.Reason != ""}
	}
	now.At = old.confirmed
	if now.Err == nil {
		//lint:ignore ST1005 Consul is a name
		now.Err = errors.New("Consul has not answered yet")
	}
	return view{View: now, stale: true, recalled: old.instances}
}

func (v view) instances() []desired.Instance {
	if v.recalled != nil {
		return v.recalled
	}
	return consulInstances(v.View)
}

// found is what the tables have of the services that VIPs lead to.
func found(tables *dataplane.Tables) map[string]*desired.Found {
	byID := map[uint32]*desired.Found{}
	all := map[string]*desired.Found{}
	for _, entry := range tables.VIPs {
		if byID[entry.Service] == nil {
			byID[entry.Service] = &desired.Found{}
			all[tables.Services[entry.Service].Name] = byID[entry.Service]
		}
	}
	for _, backend := range tables.Backends {
		if of := byID[backend.Service]; of != nil && !backend.Dead {
			of.Backends = append(of.Backends, backend.ID)
		}
	}
	return all
}

// recall lets notes stand for Consul's word where it does not come, and asks for
// another decision where one begins to.
func (d *daemon) recall() {
	r := &d.recalling
	late := r.after.IsZero() || passed(r.after)
	if late {
		r.after = time.Time{}
	}
	for _, s := range d.loaded.file.Services {
		if s.Consul == nil {
			continue
		}
		asked := asked(d.loaded.file.Consul, *s.Consul)
		note, noted := r.notes.sets[asked]
		_, used := r.used[s.Name]
		now := d.views[d.watchNames[s.Name]]
		switch {
		case now.Known():
			r.answered[asked] = true
			delete(r.used, s.Name)
		case noted && !used && !r.answered[asked] && (late || now.Reason != ""):
			r.used[s.Name] = d.recallOne(s, asked, note)
			d.decided = false
		}
	}
}

func (d *daemon) recallOne(s config.Service, asked question, note answer) recalled {
	instances, why := desired.Recall(
		consulInstances(consul.View{Instances: note.instances}), s.Health != nil, d.recalling.found[s.Name])
	if why != "" {
		d.events.tell(slog.LevelWarn, api.Event{Kind: kindConsul, Text: "Consul's last word is not used: the kernel's tables are newer", Service: s.Name, State: "unused", Reason: why},
			"stale_since", note.confirmed)
		return recalled{question: asked}
	}
	d.events.tell(slog.LevelWarn, api.Event{Kind: kindConsul, Text: "forwarding by Consul's last word", Service: s.Name, State: "recalled"},
		"stale_since", note.confirmed, "instances", len(instances))
	return recalled{asked, note.confirmed, append([]desired.Instance{}, instances...)}
}

// forget drops what stands for an answer to a question that is no longer asked.
func (r *recalling) forget(file *config.File) {
	asking := map[string]question{}
	for _, s := range file.Services {
		if s.Consul != nil {
			asking[s.Name] = asked(file.Consul, *s.Consul)
		}
	}
	maps.DeleteFunc(r.used, func(service string, old recalled) bool { return asking[service] != old.question })
	r.after = time.Now().Add(recallAfter)
}

// keepDrains has those kept that began or ended. They are for the next daemon: that
// a backend is in maintenance Consul says, but not since when.
func (d *daemon) keepDrains() {
	before := d.recalling.drains
	d.recalling.drains = d.report.Drains(before)
	if !maps.EqualFunc(before, d.recalling.drains, time.Time.Equal) {
		d.keep(true)
	}
}

// keep has the keeper keep what is known now: Consul's word, and where there is
// none yet, what was noted of its last.
func (d *daemon) keep(changed bool) {
	known := lastKnown{secret: d.secret, sets: map[question]answer{}, drains: d.recalling.drains}
	for _, s := range d.loaded.file.Services {
		if s.Consul == nil {
			continue
		}
		asked := asked(d.loaded.file.Consul, *s.Consul)
		now := d.views[d.watchNames[s.Name]]
		if note, noted := d.recalling.notes.sets[asked]; noted && !now.Known() && !d.recalling.answered[asked] {
			known.sets[asked] = note
		} else if now.Known() {
			known.sets[asked] = answer{now.At, now.Instances} // nobody changes a view
		}
	}
	d.keeper.keep(known, changed)
}
