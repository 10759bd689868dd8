package controlplane

import (
	"log/slog"
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

// attaching is the state of being attached to interfaces.
type attaching struct {
	since     time.Time // when we began
	may       bool      // the tables are fit to be seen by packets
	names     []string  // of the last try
	done      []dataplane.Attachment
	err       error
	retry     backoff
	inspected time.Time
	found     []string // is not as the last try left it
	wrong     []string // all that was found since the last try that succeeded
	// eventsOnly lets nothing but the kernel's events lead to another look or another
	// try, so that a test sees whether they would.
	eventsOnly bool
}

// attachPatience is how long a start waits for services that are still waiting
// before packets may see the tables. Until then an earlier daemon's program, if
// there is one, forwards by tables of its own.
const attachPatience = 10 * time.Second

// keepAttached sees to it that the program is attached where the file says.
func (d *daemon) keepAttached() {
	a := &d.attach
	if !a.may && !a.ready(d.report, d.writing) {
		return
	}
	a.may = true
	names := d.loaded.file.Interfaces
	if slices.Equal(a.names, names) && (a.err == nil && len(a.found) == 0 || a.retry.pending()) {
		return
	}
	before := a.done
	a.names = slices.Clone(names)
	a.done, a.err = d.plane.Attach(names)
	if !slices.Equal(before, a.done) {
		d.followed = false // what can be sent from depends on where and how packets arrive
		d.inbox.changed()
	}
	for _, now := range a.done {
		if !slices.Contains(before, now) {
			level := slog.LevelInfo
			if now.Reason != "" { // it works, and is slower
				level = slog.LevelWarn
			}
			d.events.tell(level, api.Event{Kind: kindInterface, Text: "attached", Interface: now.Interface, State: now.Mode, Reason: now.Reason})
		}
	}
	if a.err != nil {
		d.events.tell(slog.LevelError, api.Event{Kind: kindInterface, Text: "not attached to every interface", Reason: a.err.Error()}, "retry_in", a.retry.failed())
		if a.eventsOnly {
			a.retry.at = time.Now().Add(never)
		}
		return
	}
	a.retry.succeeded()
	d.mended()
}

// ready tells whether the tables are fit to be seen: every service has had its
// first complete view, or patience is over.
func (a *attaching) ready(report desired.Report, writing backoff) bool {
	if time.Since(a.since) >= attachPatience {
		return true
	}
	waiting := slices.ContainsFunc(report.Services, func(s desired.ServiceReport) bool { return !s.Ready })
	return !waiting && writing.failures == 0
}

// tried tells whether the program was told to see the tables.
func (a *attaching) tried() bool { return a.names != nil }

// wake is when to look again though nothing was heard; zero is never.
func (a *attaching) wake() time.Time {
	if !a.may {
		return a.since.Add(attachPatience)
	}
	if a.tried() && !a.retry.pending() {
		return a.inspected.Add(a.inspectEvery())
	}
	return a.retry.at
}
