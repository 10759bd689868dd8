package desired

import (
	"fmt"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Draining is since when a backend shall take no new flows, and for how long it
// keeps those it has. It begins with the first wish, of whomever, and outlives
// an illness, so that a flapping backend is cut no later than a well one.
type Draining struct {
	Since time.Time
	Cut   time.Time // when what is left is cut
	By    string    // the operator; "" where its source drains it
	Until time.Time // when the operator's wish ends; zero where there is none
}

// Drained is a backend that someone wants drained.
type Drained struct {
	Service string
	Backend dataplane.ID
}

// Drains are when those of the report began, and of services of which nothing is
// known yet those that were known before.
func (r Report) Drains(before map[Drained]time.Time) map[Drained]time.Time {
	all := map[Drained]time.Time{}
	for _, s := range r.Services {
		for i := range s.Backends {
			if b := &s.Backends[i]; b.Draining != nil {
				all[Drained{s.Name, b.Key}] = b.Draining.Since
			}
		}
		if s.Ready {
			continue
		}
		for of, began := range before {
			if of.Service == s.Name {
				all[of] = began
			}
		}
	}
	return all
}

// heed notes whether anyone wants the backend drained, and says why.
func (b *backend) heed(in Input, s Service, before BackendReport) (why string) {
	wish, overridden := in.override(s.Name, b.Key, Drain)
	switch {
	case overridden:
		why = wish.says("drained")
		b.Draining = &Draining{Since: wish.Since, By: wish.By, Until: wish.Until}
	case b.facts.Status == Maintenance, b.full == 0:
		why = drainReason(b.facts)
		b.Draining = &Draining{Since: in.Now}
	default:
		return ""
	}
	if began, known := in.Began[Drained{s.Name, b.Key}]; known {
		b.Draining.Since = began
	}
	if before.Draining != nil {
		b.Draining.Since = before.Draining.Since
	}
	b.Draining.Cut = b.Draining.Since.Add(s.DrainTimeout)
	b.worth = 0
	return why
}

func drainReason(facts Instance) string {
	switch facts.Status {
	case Maintenance:
		return consulSays(facts)
	case Warned:
		return "weight 0 while " + consulSays(facts)
	}
	return "weight 0"
}

// drain takes a backend's new flows, and in the end all.
func (b *backend) drain(in Input, s Service, why string) {
	b.State, b.Reason = BackendDrain, why
	if !in.Now.Before(b.Draining.Cut) {
		b.State = BackendDrained
		b.Reason = fmt.Sprintf("%s; its flows were cut after %s", why, s.DrainTimeout)
	}
}
