package desired

import (
	"fmt"
	"slices"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// MaxWeight is the largest weight of a backend; larger ones are clamped.
const MaxWeight = 256

// backend is an instance under judgement.
type backend struct {
	BackendReport
	facts  Instance
	served bool      // up in the last report
	full   uint16    // its weight if it is well and nobody drains it
	worth  uint16    // its weight if it is well
	wished time.Time // when the first of the operators' wishes ends; zero is never
	quicID string    // what it has in connection IDs; "" is nothing
}

// judge says what a backend is worth now. Consul's word and the probes must
// agree that it is well, so the first objection decides.
func (b *backend) judge(in Input, s Service, before BackendReport) {
	if b.State == BackendRejected {
		return
	}
	b.served = before.State == BackendUp
	b.full = fullWeight(s, b.facts)
	reweighed := b.reweigh(in, s)
	b.worth = b.full
	drained := b.heed(in, s, before)
	disabled := b.disable(in, s)
	verdict := in.Verdicts[probeKey(s, b.BackendReport)]
	_, looked := in.Hops[b.Addr]
	switch {
	case disabled != "":
		b.State, b.Reason = BackendDisabled, disabled
	case b.facts.Status == Critical, b.facts.Status == Warned && s.Warning == WarningDrop:
		b.State, b.Reason = BackendDown, consulSays(b.facts)
	case s.Probed && verdict.Health == Ill:
		b.State, b.Reason = BackendDown, "probe: "+verdict.Reason
	case !looked:
		b.State, b.Reason = BackendUnknown, "its next hop is being looked up"
	case objectionToHop(in, s, *b) != "":
		b.State, b.Reason = BackendUnresolved, objectionToHop(in, s, *b)
	case drained != "":
		b.drain(in, s, drained)
	case s.Probed && verdict.Health == Unknown && !b.served:
		b.State, b.Reason = BackendUnknown, "not probed yet"
	case s.Probed && verdict.Health == Unknown:
		// What we do not know yet is no reason to take away what served.
		b.State, b.Reason = BackendUp, "not probed again yet, serves as before"
	default:
		b.State, b.Reason = BackendUp, reweighed
		if b.facts.Status == Warned {
			b.Reason = consulSays(b.facts)
		}
	}
	if b.State == BackendUp {
		b.Weight = b.worth
	}
}

// fullWeight is the weight of a backend that is well.
func fullWeight(s Service, facts Instance) uint16 {
	weight := facts.WeightPassing
	if facts.Status == Warned && s.Warning == WarningUseWeight {
		weight = facts.WeightWarning
	}
	return uint16(min(max(weight, 0), MaxWeight))
}

// objectionToHop says why there is no way to the backend, or "".
func objectionToHop(in Input, s Service, b backend) string {
	hop, looked := in.Hops[b.Addr]
	switch {
	case !looked:
		return "its next hop is being looked up"
	case hop.Problem != "":
		return hop.Problem
	case s.Forward == dataplane.L2 && hop.Gateway.IsValid():
		return fmt.Sprintf("is behind gateway %s, and l2 reaches only its own segment", hop.Gateway)
	case s.Forward == dataplane.NAT && !slices.Contains(in.Ingress, hop.Interface):
		return "its answers would come in where they are not seen: add the interface that leads to it to interfaces, for nat"
	}
	return ""
}

func consulSays(facts Instance) string {
	text := fmt.Sprintf("%s in Consul", facts.Status)
	if facts.Detail != "" {
		text += ": " + facts.Detail
	}
	return text
}

// ignoreHealthInPanic lets every backend serve that can be reached, where so
// few are well that the rest would be overloaded, and tells whether it did.
// Only a service that set panic_threshold has one. What an operator drained
// stays drained.
func ignoreHealthInPanic(in Input, s Service, backends []backend) bool {
	well, ill := 0, 0
	for _, b := range backends {
		switch {
		case b.State == BackendUp:
			well++
		case b.ill():
			ill++
		}
	}
	if ill == 0 || float64(well) >= s.PanicThreshold*float64(well+ill) {
		return false
	}
	for i := range backends {
		b := &backends[i]
		if b.ill() && objectionToHop(in, s, *b) == "" {
			b.State, b.Weight = BackendUp, b.worth
			b.Reason = "health is ignored: " + b.Reason
		}
	}
	return true
}

// ill tells whether only health keeps the backend from serving. What was not
// probed yet does not count: new backends are no reason to panic.
func (b backend) ill() bool { return b.State == BackendDown && b.worth > 0 }
