package dataplane

import (
	"fmt"
	"net/netip"
	"sync/atomic"
)

// Step is one change to the tables, a plain value. Replay makes the change to
// tables in memory; a Writer makes it to the kernel.
type Step interface {
	Replay(*Tables)
	String() string // "point 192.0.2.10:443/tcp at web", for plans and logs
}

// The steps. Diff says in which order they may be taken, and why.
type (
	// PutEgress lets packets be redirected to an interface.
	PutEgress struct{ Interface uint32 }
	// PutBackend writes a backend's entry. New asks for counters at zero.
	PutBackend struct {
		Index uint32
		Entry BackendEntry
		New   bool
	}
	// PutService records a service and the slots it owns.
	PutService struct {
		ID    uint32
		Entry ServiceEntry
	}
	// PutSlots gives slots their owners; Name is for people.
	PutSlots struct {
		Name   string
		Owners []SlotOwner
	}
	// PutConditions changes what slots go through; Name is for people.
	PutConditions struct {
		Name    string
		Changes []SlotCondition
	}
	// PutAddress makes an address one of VIPs, for packets without ports.
	PutAddress struct{ Addr netip.Addr }
	// PutVIP starts to send a VIP's packets to slots, or to other slots.
	PutVIP struct {
		VIP   VIP
		Entry VIPEntry
	}
	// PutPrefix lets the program look for wide VIPs of a prefix.
	PutPrefix struct{ Prefix Prefix }
	// DeletePrefix ends that.
	DeletePrefix struct{ Prefix Prefix }
	// SeeWide lets the program look for wide VIPs at all, or not.
	SeeWide struct{ On bool }
	// PutQUICID sends the flows whose connection IDs hold an ID to a backend.
	PutQUICID struct {
		Key     QUICKey
		Backend uint32
	}
	// DeleteQUICID lets such flows go by their slots.
	DeleteQUICID struct{ Key QUICKey }
	// DeleteVIP hands a VIP's packets back to the host.
	DeleteVIP struct{ VIP VIP }
	// DeleteAddress hands an address back to the host.
	DeleteAddress struct{ Addr netip.Addr }
	// DeleteService frees a service's id and slots.
	DeleteService struct{ ID uint32 }
	// DeleteBackend frees a backend's index.
	DeleteBackend struct{ Index uint32 }
	// DeleteEgress takes an interface out of the redirect map.
	DeleteEgress struct{ Interface uint32 }
)

// SlotOwner is the new owner of one slot; Slot counts from the start of
// Tables.Slots.
type SlotOwner struct{ Slot, Owner uint32 }

// SlotCondition is the new condition of one slot for one protocol.
type SlotCondition struct {
	Slot     uint32
	Protocol Protocol
	Condition
}

// Writer carries out one step on the real tables.
type Writer interface {
	Write(Step) error
}

func (s PutEgress) String() string    { return fmt.Sprintf("allow egress to interface %d", s.Interface) }
func (s DeleteEgress) String() string { return fmt.Sprintf("end egress to interface %d", s.Interface) }

func (s PutBackend) String() string {
	verb := "rewrite"
	if s.Entry.Dead {
		return fmt.Sprintf("bury backend %d: %s of service %d", s.Index, s.Entry.ID, s.Entry.Service)
	}
	if s.New {
		verb = "add"
	}
	return fmt.Sprintf("%s backend %d: %s of service %d by %s via interface %d",
		verb, s.Index, s.Entry.ID, s.Entry.Service, s.Entry.Forward, s.Entry.Hop.Interface)
}

func (s DeleteBackend) String() string { return fmt.Sprintf("free backend %d", s.Index) }

func (s PutService) String() string {
	if s.Entry.Fingerprint == 0 {
		return fmt.Sprintf("open slots %d to %d of %s, service %d",
			s.Entry.FirstSlot, s.Entry.FirstSlot+s.Entry.SlotCount-1, s.Entry.Name, s.ID)
	}
	return fmt.Sprintf("seal the slots of %s, service %d, as %016x", s.Entry.Name, s.ID, s.Entry.Fingerprint)
}

func (s DeleteService) String() string { return fmt.Sprintf("free service %d and its slots", s.ID) }

func (s PutSlots) String() string {
	return fmt.Sprintf("give %d slots of %s their owners", len(s.Owners), s.Name)
}

func (s PutConditions) String() string {
	return fmt.Sprintf("change the phase of %d slots of %s", len(s.Changes), s.Name)
}

func (s PutVIP) String() string {
	phases := ""
	if s.Entry.Unsettled {
		phases = ", minding their phases"
	}
	return fmt.Sprintf("point %s at the %d slots from %d of service %d%s",
		s.VIP, s.Entry.SlotCount, s.Entry.FirstSlot, s.Entry.Service, phases)
}

func (s PutAddress) String() string { return fmt.Sprintf("claim the address %s", s.Addr) }

func (s DeleteAddress) String() string {
	return fmt.Sprintf("hand the address %s back to the host", s.Addr)
}

func (s DeleteVIP) String() string { return fmt.Sprintf("hand %s back to the host", s.VIP) }

// Replay writes condition by condition, as PutSlots does owners.
func (s PutConditions) Replay(t *Tables) {
	for _, change := range s.Changes {
		t.Conditions.Put(change.Slot, change.Protocol, change.Condition)
		t.Phases.put(change.Slot, change.Protocol, change.word())
	}
}

// Replay of each step makes its change to tables in memory.
func (s PutEgress) Replay(t *Tables)     { t.Egress[s.Interface] = true }
func (s DeleteEgress) Replay(t *Tables)  { delete(t.Egress, s.Interface) }
func (s PutBackend) Replay(t *Tables)    { t.Backends[s.Index] = s.Entry }
func (s DeleteBackend) Replay(t *Tables) { delete(t.Backends, s.Index) }
func (s PutService) Replay(t *Tables)    { t.Services[s.ID] = s.Entry }
func (s DeleteService) Replay(t *Tables) { delete(t.Services, s.ID) }
func (s PutAddress) Replay(t *Tables)    { t.Addresses[s.Addr] = true }
func (s DeleteAddress) Replay(t *Tables) { delete(t.Addresses, s.Addr) }
func (s PutVIP) Replay(t *Tables)        { t.VIPs[s.VIP] = s.Entry }
func (s DeleteVIP) Replay(t *Tables)     { delete(t.VIPs, s.VIP) }

// Replay stores slot by slot, so that a program that reads the same memory sees
// the old owner or the new one and nothing between.
func (s PutSlots) Replay(t *Tables) {
	for _, slot := range s.Owners {
		atomic.StoreUint32(&t.Slots[slot.Slot], slot.Owner)
	}
}
