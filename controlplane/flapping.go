package controlplane

import (
	"slices"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

// What changes mostTellings times within flapWindow is told of once in such a time,
// until it changes no more.
const (
	mostTellings = 6
	flapWindow   = time.Minute
)

// flapping knows what was told of lately. It is pure but for what it remembers.
type flapping map[flapper]*flaps

// flapper is what may flap. That a view is held for another reason is news, however
// often it was held for the ones before.
type flapper struct{ kind, service, backend, why string }

// flaps are the latest changes of something.
type flaps struct {
	told    []time.Time // within the window
	until   time.Time   // when there is something to say again; zero while it does not flap
	changes int         // since it was told of last
	latest  api.Event
}

// telling is what is to be done with an event.
type telling uint8

const (
	told     telling = iota
	tooOften         // told for the last time in a while
	untold
)

// judge notes an event, and whether to tell of it. What operators do never flaps.
func (f flapping) judge(e api.Event) telling {
	if e.Kind != kindBackend && e.Kind != kindService && e.Kind != kindConsul {
		return told
	}
	key := flapper{e.Kind, e.Service, e.Backend, e.Why}
	of := f[key]
	if of == nil {
		of = &flaps{}
		f[key] = of
	}
	of.latest = e
	if !of.until.IsZero() {
		of.changes++
		return untold
	}
	of.told = append(slices.DeleteFunc(of.told, func(at time.Time) bool { return e.At.Sub(at) >= flapWindow }), e.At)
	if len(of.told) <= mostTellings {
		return told
	}
	of.until = e.At.Add(flapWindow)
	return tooOften
}

// due are the events to tell of now instead of those that were not, and forgets what
// has been quiet.
func (f flapping) due(now time.Time) (all []api.Event) {
	for key, of := range f {
		if of.until.IsZero() {
			if now.Sub(of.told[len(of.told)-1]) >= flapWindow {
				delete(f, key)
			}
			continue
		}
		if now.Before(of.until) {
			continue
		}
		e := api.Event{Kind: key.kind, Service: key.service, Backend: key.backend, Text: key.kind + " is flapping",
			At: of.latest.At, State: of.latest.State, Weight: of.latest.Weight, Reason: of.latest.Reason, Why: key.why, Changes: of.changes}
		if of.changes == 0 {
			e.Text = key.kind + " flaps no more"
			delete(f, key)
		}
		of.changes, of.until = 0, now.Add(flapWindow)
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b api.Event) int { return a.At.Compare(b.At) })
	return all
}

// wake is when something is due; zero is never.
func (f flapping) wake() (at time.Time) {
	for _, of := range f {
		if !of.until.IsZero() && (at.IsZero() || of.until.Before(at)) {
			at = of.until
		}
	}
	return at
}
