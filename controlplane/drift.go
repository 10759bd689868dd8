package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/controlplane/api"
)

// drift is what was found otherwise than we had left it, and mended.
type drift struct {
	repairs int
	at      time.Time // of the last
	found   string    // then
}

// mostTold is how many repairs of one moment are told of one by one.
const mostTold = 20

// repaired notes repairs, and tells of them.
func (d *daemon) repaired(found ...string) {
	for i, what := range found {
		d.drift = drift{d.drift.repairs + 1, time.Now(), what}
		if i < mostTold {
			d.tellOfRepair(what)
		}
	}
	if more := len(found) - mostTold; more > 0 {
		d.tellOfRepair(fmt.Sprintf("%d more, the last: %s", more, found[len(found)-1]))
	}
}

func (d *daemon) tellOfRepair(found string) {
	d.events.tell(slog.LevelWarn, api.Event{Kind: kindRepair, Text: "repaired what was not as it had been left", Reason: found})
}

// inspectEvery is how often attachments and pins are looked at, for what no event
// tells of. A link that is detached by force is an outage.
const inspectEvery = time.Second

// never is longer than any test takes.
const never = 24 * time.Hour

func (a *attaching) inspectEvery() time.Duration {
	if a.eventsOnly {
		return never
	}
	return inspectEvery
}

// inspect notices what is not attached or pinned as it was, at once where the
// kernel tells of an interface.
func (d *daemon) inspect(heard bool) {
	a := &d.attach
	if !a.tried() || !heard && time.Since(a.inspected) < a.inspectEvery() {
		return
	}
	a.inspected = time.Now()
	if heard && a.err != nil {
		a.retry.at = time.Time{} // what was missing may have come
	}
	a.found = d.plane.Inspect()
	for _, what := range a.found {
		if !slices.Contains(a.wrong, what) {
			a.wrong = append(a.wrong, what)
		}
	}
}

// mended tells what has been found since everything was attached, once it is again.
func (d *daemon) mended() {
	a := &d.attach
	a.found = d.plane.Inspect()
	for _, what := range a.wrong {
		if !slices.Contains(a.found, what) {
			d.repaired(what)
		}
	}
	a.wrong = slices.Clone(a.found)
}

// watchLinks tells of each change of an interface.
func watchLinks(ctx context.Context, changed func()) error {
	for ctx.Err() == nil {
		updates, done := make(chan netlink.LinkUpdate, 64), make(chan struct{})
		err := netlink.LinkSubscribeWithOptions(updates, done, netlink.LinkSubscribeOptions{ErrorCallback: func(error) {}})
		for open := err == nil; open; {
			select {
			case <-ctx.Done():
				open = false
			case _, open = <-updates:
				changed()
			}
		}
		close(done)
		select { // until then, inspect looks by itself
		case <-ctx.Done():
		case <-time.After(inspectEvery):
		}
	}
	return nil
}
