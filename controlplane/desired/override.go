package desired

import (
	"fmt"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Override is what an operator wants of one backend, whatever its source says.
type Override struct {
	Service string
	Backend dataplane.ID
	Kind    OverrideKind
	Weight  uint16 // of Reweigh
	Reason  string // for people; may be ""
	By      string // who
	Since   time.Time
	Until   time.Time // from then on it does not count
}

// OverrideKind is what an override asks for.
type OverrideKind string

// The kinds of overrides. A backend may have one of each.
const (
	Drain   OverrideKind = "drain"   // no new flows
	Disable OverrideKind = "disable" // no packets
	Reweigh OverrideKind = "weight"  // another weight, where its source gives it one
)

// override is the operator's wish of a kind that counts for a backend.
func (in Input) override(service string, id dataplane.ID, kind OverrideKind) (Override, bool) {
	for _, o := range in.Overrides {
		if o.Service == service && o.Backend == id && o.Kind == kind && in.Now.Before(o.Until) {
			return o, true
		}
	}
	return Override{}, false
}

// says is who did what, and why.
func (o Override) says(done string) string {
	text := done + " by " + o.By
	if o.Reason != "" {
		text += ": " + o.Reason
	}
	return text
}

// reweigh gives the backend the weight that an operator wants. What its source
// drains by weight 0, only that can bring back.
func (b *backend) reweigh(in Input, s Service) (why string) {
	wish, overridden := in.override(s.Name, b.Key, Reweigh)
	if !overridden {
		return ""
	}
	b.wished = earlier(b.wished, wish.Until)
	if b.full == 0 {
		return ""
	}
	b.full = min(max(wish.Weight, 1), MaxWeight)
	return wish.says(fmt.Sprintf("weight %d", b.full))
}

// disable notes whether an operator wants no packet to go to the backend.
func (b *backend) disable(in Input, s Service) (why string) {
	wish, overridden := in.override(s.Name, b.Key, Disable)
	if !overridden {
		return ""
	}
	b.wished = earlier(b.wished, wish.Until)
	return wish.says("disabled")
}
