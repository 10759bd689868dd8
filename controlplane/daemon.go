package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/controlplane/drops"
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
	events        *chronicle
	prober        prober
	hops          hops
	watches       watches
	consulAddress func() string
	consulCounts  func() consul.Counts
	second        func() uint32              // of the clock that the program reads
	ifindexes     func(name string) []uint32 // of an interface
	overrides     *overrides
	keeper        *keeper
	secret        string // to be kept; "" where the file gives it
	hashSecret    uint64
	manager       manager
	reloader      *reloader
	published     atomic.Pointer[page]
	versions      versions
	drops         *drops.Hub
	traffic       traffic
	rates         rates
	moves         moves
	timings       *api.Timings
	web           *api.Web // nil where the file wants none

	// ---
	first      *config.File // that the maps were made for
	loaded     loaded       // the file that runs
	refused    error        // what is wrong with the file as it is now
	services   []desired.Service
	watchNames map[string]string      // of the services that ask Consul
	askers     map[string]string      // the same, by watch
	views      map[string]consul.View // by the names of the watches
	recalling  recalling
	candidates map[string][]desired.Candidate // by service
	followed   bool                           // prober and hops were given the candidates
	news       news                           // since the last decision
	again      int                            // the service that was last judged without any
	exact      bool                           // the tables are known to hold what was decided last

	tables    *dataplane.Tables // nil: to be read again
	phases    *dataplane.Phases // that we left there
	decided   bool
	want      dataplane.State // what was decided last
	report    desired.Report  // the same, and why
	problems  []dataplane.Problem
	placed    placements
	lastApply *applied
	writing   backoff
	audited   time.Time

	generation    uint64            // how often the tables were changed
	writeFailures map[string]uint64 // by map
	consulSaid    time.Time         // the first answer that this turn of the loop is about; zero is none

	samples   samples // of the counters, at each audit
	settling  settling
	drift     drift
	mending   mending
	verifying verifying

	journal journal
	attach  attaching
	ready   bool // and the manager knows
}

// applied is the last change of the tables.
type applied struct {
	at    time.Time
	steps int
	took  time.Duration
	err   error
}

// healed is the same without what went wrong, which is over without another change.
func (a *applied) healed() *applied {
	if a == nil {
		return nil
	}
	healed := *a
	healed.err = nil
	return &healed
}

// begin reads what the kernel holds and takes the first file.
func (d *daemon) begin(first loaded) error {
	tables, err := d.plane.Tables()
	if err != nil {
		return fmt.Errorf("reading the tables: %w", err)
	}
	if err := d.traffic.begin(d.plane); err != nil {
		return fmt.Errorf("reading the counters: %w", err)
	}
	d.audited = time.Now()
	d.sample()
	d.hold(tables)
	d.journal = journal{events: d.events, moves: &d.moves}
	d.recalling.found, d.recalling.drains = found(tables), d.recalling.notes.drains
	d.recalling.answered, d.recalling.used = map[question]bool{}, map[string]recalled{}
	// An earlier daemon's tables are as good as its last word, so the program
	// may see packets before anything is known.
	d.attach.since, d.attach.may = time.Now(), len(tables.Services) > 0
	d.first = first.file
	d.adopt(first)
	d.keep(true)
	d.publish()
	return nil
}

// run is the loop. Nothing in it waits: parts that must wait do so elsewhere.
func (d *daemon) run(ctx context.Context) error {
	for {
		d.turn()
		select {
		case <-ctx.Done():
			return nil
		case <-d.inbox.poke:
		case <-time.After(time.Until(d.wake())):
		}
	}
}

// turn takes what was heard and does what is due.
func (d *daemon) turn() {
	mail := d.inbox.take()
	d.digest(mail)
	d.recall()
	d.expire()
	d.inspect(mail.links)
	audited, astray := d.audit(), d.lookForDrift()
	if audited || astray || d.due(mail) {
		d.reconcile(mail.arrived)
	}
	d.tick()
	d.keepAttached()
	d.publish()
	d.events.flush()
	d.tellManager()
	if mail.loaded != nil && mail.loaded.taken != nil {
		close(mail.loaded.taken)
	}
	for _, asked := range mail.plans {
		asked.answer <- d.foresee(asked.file)
	}
}

// wake is when to look again though nothing was heard.
func (d *daemon) wake() time.Time {
	at := d.audited.Add(auditEvery)
	others := []time.Time{d.writing.at, d.attach.wake(), d.report.Again(), d.overrides.wake(), d.recalling.after, d.manager.Wake(), d.events.wake()}
	if d.mayMend() {
		others = append(others, d.mending.next, d.verifying.wake(len(d.want.Services)))
	}
	if d.writing.failures == 0 && d.attach.tried() {
		others = append(others, d.settling.wake())
	}
	for _, other := range others {
		if !other.IsZero() && other.Before(at) {
			at = other
		}
	}
	return at
}

// due tells whether anything was heard, or has become true by itself, that asks
// for another decision.
func (d *daemon) due(m mail) bool {
	if !m.arrived.IsZero() || !d.decided {
		return true
	}
	return passed(d.writing.at) || passed(d.report.Again())
}

// passed tells whether a time has come; zero never does.
func passed(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }

// digest takes the news into the state.
func (d *daemon) digest(m mail) {
	if m.loaded != nil {
		if m.loaded.err != nil {
			d.refused = m.loaded.err
			d.events.tell(slog.LevelError, api.Event{Kind: kindConfiguration, Text: "the configuration was not taken, the one before goes on", Reason: d.refused.Error()})
		} else {
			d.adopt(*m.loaded)
		}
	}
	d.answered(m.views)
	d.news.add(m.news)
	changed := m.loaded != nil
	for name, view := range m.views {
		service, expected := d.askers[name]
		if !expected {
			continue // of a query that a reload took back
		}
		before := d.views[name]
		d.views[name] = view
		if view.Changed || !before.Known() {
			d.news.of(service)
			changed = true
		}
	}
	d.journal.views(d.watchNames, d.views)
	if changed || len(m.views) > 0 {
		d.keep(changed)
	}
}

// adopt makes a file without mistakes the one that runs.
func (d *daemon) adopt(l loaded) {
	l.pending = restartNeeded(d.first, l.file)
	d.loaded, d.refused, d.followed, d.news.all = l, nil, false, true
	d.services = declaredServices(l.file)
	d.watchNames, d.askers = d.watches.Set(l.file), map[string]string{}
	views := map[string]consul.View{}
	for service, name := range d.watchNames {
		d.askers[name] = service
		if view, known := d.views[name]; known {
			views[name] = view
		}
	}
	d.views = views
	d.recalling.forget(l.file)
	d.events.tell(slog.LevelInfo, api.Event{Kind: kindConfiguration, Text: "configuration taken"}, "path", d.path, "services", len(d.services))
	for _, warning := range slices.Concat(l.warnings, l.pending) {
		d.log.Warn(warning)
	}
}

// auditEvery is how often everything is decided anew though nothing was heard, and
// how far apart the counters are looked at.
const auditEvery = 30 * time.Second

func (d *daemon) audit() bool {
	if time.Since(d.audited) < auditEvery {
		return false
	}
	d.audited = time.Now()
	d.sample()
	d.anew()
	d.exact = false // once in a while all is compared
	return true
}

// hold takes tables as those that the kernel has.
func (d *daemon) hold(tables *dataplane.Tables) {
	if d.phases == nil {
		d.phases = dataplane.NotePhases(tables)
	}
	tables.Phases = d.phases
	d.tables, d.placed = tables, placements{}
	d.exact = false
	d.placed.count(tables, nil)
	d.settling.notice(tables)
	d.traffic.hold(tables)
}
