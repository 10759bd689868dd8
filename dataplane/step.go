package dataplane

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
	// PutVIP starts to send a VIP's packets to slots, or to other slots.
	PutVIP struct {
		VIP   VIP
		Entry VIPEntry
	}
	// DeleteVIP hands a VIP's packets back to the host.
	DeleteVIP struct{ VIP VIP }
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

// Writer carries out one step on the real tables.
type Writer interface {
	Write(Step) error
}
