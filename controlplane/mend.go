package controlplane

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// mayMend tells whether what the tables hold can be held against what we left there.
// After a failure nobody knows what that was, and the tables are read again.
func (d *daemon) mayMend() bool { return d.tables != nil && d.decided && d.writing.failures == 0 }

// lookForDrift looks for what somebody else did to the tables, and tells whether
// something is left for a decision to repair.
func (d *daemon) lookForDrift() bool {
	if !d.mayMend() {
		return false
	}
	failed := d.mend()
	return failed || d.verify()
}

// mending is when the entries of tables were compared with what they were left as.
type mending struct{ next time.Time }

// The entries are compared each second, or less often where there are so many that
// this would take more than a thousandth of the time: news that comes meanwhile waits.
const (
	mendEvery  = time.Second
	mendBudget = 1000
)

// mend makes the entries again what they were left as. If it cannot, the tables are
// read again, and what is wanted is made of what they hold.
func (d *daemon) mend() (failed bool) {
	began := time.Now()
	if began.Before(d.mending.next) {
		return false
	}
	found, err := d.plane.Mend(d.tables)
	d.mending.next = time.Now().Add(min(max(mendEvery, mendBudget*time.Since(began)), auditEvery))
	d.repaired(found...)
	if err == nil {
		return false
	}
	d.tellOfTables(slog.LevelError, "the tables cannot be made what they were left as", err, "retry_in", auditEvery)
	d.mending.next = time.Now().Add(auditEvery)
	d.tables = nil
	return true
}

// verifying is a round through all slots, of phases first: owners are mended by what
// those are. And through all services, whose slots are compared with what they should
// be: a fingerprint names what was built, not what someone wrote since.
type verifying struct {
	began  time.Time
	looked time.Time
	slot   uint32          // the next to compare the phases of
	next   int             // the next service
	wrong  map[string]bool // to be built anew
}

// A round begins at most once in verifyRound and takes verifyBudget of each second
// in which there is something left of it.
const (
	verifyRound  = auditEvery
	verifyEvery  = time.Second
	verifyBudget = 10 * time.Millisecond
)

// verifyChunk is how many slots are looked at between two looks at the clock.
const verifyChunk = 1 << 16

// verify looks at some slots and services, and tells whether owners are to be repaired.
func (d *daemon) verify() bool {
	v := &d.verifying
	if time.Now().Before(v.wake(len(d.want.Services))) {
		return false
	}
	v.looked = time.Now()
	if v.next >= len(d.want.Services) {
		v.began, v.next, v.slot = v.looked, 0, 0
	}
	more := func() bool { return time.Since(v.looked) < verifyBudget }
	if !d.verifyPhases(more) {
		return false
	}
	checked, wrong := dataplane.Astray(d.tables, d.want.Services[v.next:], more)
	v.next += checked
	v.wrong = map[string]bool{}
	for name, slots := range wrong {
		v.wrong[name] = true
		d.repaired(fmt.Sprintf("%d slots of %s had other owners", slots, name))
	}
	return len(wrong) > 0
}

// verifyPhases goes on with the slots, and tells whether the round is through them.
func (d *daemon) verifyPhases(more func() bool) bool {
	v := &d.verifying
	for all := uint32(len(d.tables.Slots)); v.slot < all; {
		end := min(v.slot+verifyChunk, all)
		steps := dataplane.Overwritten(d.tables, v.slot, end, d.second()+applyMargin)
		if len(steps) > 0 && d.carryOut(steps) != nil {
			return false
		}
		for _, step := range steps {
			switch s := step.(type) {
			case dataplane.PutConditions:
				d.repaired(fmt.Sprintf("%d slots of %s had other phases", len(s.Changes), s.Name))
			case dataplane.PutSlots:
				d.repaired(fmt.Sprintf("%d slots of %s had owners", len(s.Owners), s.Name))
			}
		}
		if v.slot = end; v.slot < all && !more() {
			return false
		}
	}
	return true
}

// wake is when to look at the next slots or services.
func (v *verifying) wake(services int) time.Time {
	if v.next >= services {
		return v.began.Add(verifyRound)
	}
	return v.looked.Add(verifyEvery)
}
