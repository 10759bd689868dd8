package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/dataplane"
)

// daemon is the loop that owns the state. Only run touches the fields below
// the line; others leave news in the inbox and read what is published.
type daemon struct {
	log           *slog.Logger
	version, path string
	started       time.Time
	plane         *serial
	inbox         *inbox
	prober        prober
	hops          hops
	watches       watches
	moved         func(name string, index uint32) bool
	consulAddress func() string
	published     atomic.Pointer[page]

	// ---
	first      *config.File // that the maps were made for
	loaded     loaded       // the file that runs
	refused    error        // what is wrong with the file as it is now
	services   []desired.Service
	watchNames map[string]string      // of the services that ask Consul
	views      map[string]consul.View // by the names of the watches
	candidates []desired.Candidate
	followed   bool // prober and hops were given the candidates

	tables    *dataplane.Tables // nil: to be read again
	want      dataplane.State   // what was decided last
	report    desired.Report    // the same, and why
	problems  []dataplane.Problem
	placed    placements
	lastApply *applied
	writing   backoff
	audited   time.Time

	journal journal
	attach  attaching
}

// applied is the last change of the tables.
type applied struct {
	at    time.Time
	steps int
	took  time.Duration
	err   error
}

// begin reads what the kernel holds and takes the first file.
func (d *daemon) begin(first loaded) error {
	tables, err := d.plane.Tables()
	if err != nil {
		return fmt.Errorf("reading the tables: %w", err)
	}
	d.tables, d.audited = tables, time.Now()
	d.placed = placements{}
	d.placed.count(tables, nil)
	d.journal = journal{log: d.log}
	// An earlier daemon's tables are as good as its last word, so the program
	// may see packets before anything is known.
	d.attach = attaching{since: time.Now(), may: len(tables.Services) > 0}
	d.first = first.file
	d.adopt(first)
	d.publish()
	return nil
}

// run is the loop. Nothing in it waits: parts that must wait do so elsewhere.
func (d *daemon) run(ctx context.Context) error {
	for {
		mail := d.inbox.take()
		d.digest(mail)
		d.audit()
		d.reconcile(mail.arrived)
		d.keepAttached()
		d.publish()
		select {
		case <-ctx.Done():
			return nil
		case <-d.inbox.poke:
		case <-time.After(time.Until(d.wake())):
		}
	}
}

// wake is when to look again though nothing was heard.
func (d *daemon) wake() time.Time {
	at := d.audited.Add(auditEvery)
	for _, other := range []time.Time{d.writing.at, d.attach.wake()} {
		if !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	return at
}

// digest takes the news into the state.
func (d *daemon) digest(m mail) {
	if m.loaded != nil {
		if m.loaded.err != nil {
			d.refused = m.loaded.err
			d.log.Error("the configuration was not taken, the one before goes on", "reason", d.refused)
		} else {
			d.adopt(*m.loaded)
		}
	}
	for name, view := range m.views {
		if !d.expects(name) {
			continue // of a query that a reload took back
		}
		before := d.views[name]
		d.views[name] = view
		if view.Changed || !before.Known() {
			d.followed = false
		}
	}
	d.journal.views(d.watchNames, d.views)
}

func (d *daemon) expects(name string) bool {
	for _, expected := range d.watchNames {
		if expected == name {
			return true
		}
	}
	return false
}

// adopt makes a file without mistakes the one that runs.
func (d *daemon) adopt(l loaded) {
	l.pending = restartNeeded(d.first, l.file)
	d.loaded, d.refused, d.followed = l, nil, false
	d.services = declaredServices(l.file)
	d.watchNames = d.watches.Set(l.file)
	views := map[string]consul.View{}
	for _, name := range d.watchNames {
		if view, known := d.views[name]; known {
			views[name] = view
		}
	}
	d.views = views
	d.log.Info("configuration taken", "path", d.path, "services", len(d.services))
	for _, warning := range slices.Concat(l.warnings, l.pending) {
		d.log.Warn(warning)
	}
}

// auditEvery is how often the tables are read back, to find what someone else
// did to them.
const auditEvery = 30 * time.Second

// audit lets reconcile start from what the kernel holds rather than from what
// it was told to hold.
func (d *daemon) audit() {
	if time.Since(d.audited) < auditEvery {
		return
	}
	d.audited = time.Now()
	d.attach.check(d.moved)
	if d.tables == nil {
		return
	}
	tables, err := d.plane.Tables()
	if err != nil {
		d.log.Error("the tables cannot be read back", "reason", err)
		return
	}
	d.placed.count(tables, nil)
	if steps, _ := dataplane.Diff(tables, d.want); len(steps) > 0 && d.writing.failures == 0 {
		d.log.Warn("the tables were changed by someone else, repairing them", "steps", len(steps), "first", steps[0].String())
	}
	d.tables = tables
}
