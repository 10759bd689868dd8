package controlplane

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/dataplane"
)

// drift is what was found otherwise than we had left it, and mended.
type drift struct {
	repairs int
	at      time.Time // of the last
	found   string    // then
}

// repaired notes a repair, and tells of it.
func (d *daemon) repaired(found string) {
	d.drift = drift{d.drift.repairs + 1, time.Now(), found}
	d.log.Warn("repaired what was not as it had been left", "found", found)
}

// inspectEvery is how often attachments and pins are looked at, for what no event
// tells of. A link that is detached by force is an outage.
const inspectEvery = time.Second

// inspect notices what is not attached or pinned as it was, at once where the
// kernel tells of an interface.
func (d *daemon) inspect(heard bool) {
	a := &d.attach
	if !a.tried() || !heard && time.Since(a.inspected) < inspectEvery {
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

// verifying is a round through all services, whose slots are compared with what
// they should be: a fingerprint names what was built, not what someone wrote since.
type verifying struct {
	began  time.Time
	looked time.Time
	next   int
	wrong  map[string]bool // to be built anew
}

// A round begins at most once in verifyRound and takes verifyBudget of each second
// in which there is something left of it.
const (
	verifyRound  = auditEvery
	verifyEvery  = time.Second
	verifyBudget = 10 * time.Millisecond
)

// verify looks at some services, and tells whether slots are to be repaired.
func (d *daemon) verify() bool {
	v := &d.verifying
	if d.tables == nil || !d.decided || d.writing.failures > 0 || time.Now().Before(v.wake(len(d.want.Services))) {
		return false
	}
	v.looked = time.Now()
	if v.next >= len(d.want.Services) {
		v.began, v.next = v.looked, 0
	}
	checked, wrong := dataplane.Astray(d.tables, d.want.Services[v.next:], func() bool { return time.Since(v.looked) < verifyBudget })
	v.next += checked
	v.wrong = map[string]bool{}
	for name, slots := range wrong {
		v.wrong[name] = true
		d.repaired(fmt.Sprintf("%d slots of %s had other owners", slots, name))
	}
	return len(wrong) > 0
}

// wake is when to look at the next services.
func (v *verifying) wake(services int) time.Time {
	if v.next >= services {
		return v.began.Add(verifyRound)
	}
	return v.looked.Add(verifyEvery)
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
