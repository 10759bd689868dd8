package dataplane

import "fmt"

// Apply carries out steps one after the other, each first through the Writer
// and then on have, and stops at the first that fails, with a WriteError. Then have
// holds what was done, and Diff of have and what is wanted continues from there.
func Apply(have *Tables, steps []Step, w Writer) error {
	for _, step := range steps {
		if err := w.Write(step); err != nil {
			return &WriteError{step, err}
		}
		step.Replay(have)
	}
	return nil
}

// WriteError is a step that could not be carried out, and why.
type WriteError struct {
	Step Step
	Err  error
}

func (e *WriteError) Error() string { return fmt.Sprintf("trying to %s: %v", e.Step, e.Err) }
func (e *WriteError) Unwrap() error { return e.Err }

// Maps are the names of the maps that steps are about.
var Maps = []string{"backends", "conditions", "egress", "nat", "quic_ids", "services", "slots", "switches", "vip_addresses", "vips", "wide_prefixes", "wide_vips"}

// MapOf is the one of Maps that a step writes, or writes last.
func MapOf(step Step) string {
	switch s := step.(type) {
	case PutEgress, DeleteEgress:
		return "egress"
	case PutBackend, DeleteBackend:
		return "backends"
	case PutService, DeleteService:
		return "services"
	case PutAddress, DeleteAddress:
		return "vip_addresses"
	case PutVIP:
		return mapOfVIP(s.VIP)
	case DeleteVIP:
		return mapOfVIP(s.VIP)
	case PutPrefix, DeletePrefix:
		return "wide_prefixes"
	case PutQUICID, DeleteQUICID:
		return "quic_ids"
	case PutNAT:
		return "nat"
	case SeeWide, SeeNAT:
		return "switches"
	case PutSlots:
		return "slots"
	case PutConditions:
		return "conditions"
	}
	return ""
}

func mapOfVIP(vip VIP) string {
	if vip.IsWide() {
		return "wide_vips"
	}
	return "vips"
}
