package dataplane

import (
	"maps"
	"net/netip"
	"slices"
)

// NoBackend is the owner of a slot that nobody owns. It is never an index of a
// backend.
const NoBackend uint32 = 0

// Tables is what the kernel holds, as plain values: the have of Diff. Reading
// it back from the kernel and replaying steps on it in memory give the same.
type Tables struct {
	Services map[uint32]ServiceEntry // by service id
	VIPs     map[VIP]VIPEntry        // wide ones whole or as blocks: see Blocks
	// Addresses are those of the exact VIPs.
	Addresses map[netip.Addr]bool
	// Prefixes are those of the wide VIPs, and SeesWide says that the program looks
	// for any.
	Prefixes map[Prefix]bool
	SeesWide bool
	// NAT says how connections of nat are made, and SeesNAT that the program looks
	// for answers to them.
	NAT      NATSettings
	SeesNAT  bool
	QUICIDs  map[QUICKey]uint32      // indexes of backends
	Backends map[uint32]BackendEntry // by index, never NoBackend
	Egress   map[uint32]bool         // by ifindex
	// Slots holds the owner of every slot of every service. In the kernel's
	// tables it is the mapped memory of the map itself: store atomically.
	Slots      []uint32
	Conditions Conditions // of the same slots; likewise the map's memory
	Phases     *Phases    // that conditions were left with; nil if nobody notes them
	Flows      Flows      // likewise; the program writes there too
	Limits     Limits
}

// NewTables returns tables that hold nothing, with slots for all services
// together.
func NewTables(limits Limits, slots uint32) *Tables {
	return &Tables{
		Services:   make(map[uint32]ServiceEntry),
		VIPs:       make(map[VIP]VIPEntry),
		Addresses:  make(map[netip.Addr]bool),
		Prefixes:   make(map[Prefix]bool),
		QUICIDs:    make(map[QUICKey]uint32),
		Backends:   make(map[uint32]BackendEntry),
		Egress:     make(map[uint32]bool),
		Slots:      make([]uint32, slots),
		Conditions: MakeConditions(int(slots)),
		Limits:     limits,
	}
}

// Clone returns tables that share no memory with t.
func (t *Tables) Clone() *Tables {
	return &Tables{
		Services:   maps.Clone(t.Services),
		VIPs:       maps.Clone(t.VIPs),
		Addresses:  maps.Clone(t.Addresses),
		Prefixes:   maps.Clone(t.Prefixes),
		SeesWide:   t.SeesWide,
		NAT:        t.NAT,
		SeesNAT:    t.SeesNAT,
		QUICIDs:    maps.Clone(t.QUICIDs),
		Backends:   maps.Clone(t.Backends),
		Egress:     maps.Clone(t.Egress),
		Slots:      slices.Clone(t.Slots),
		Conditions: slices.Clone(t.Conditions),
		Phases:     t.Phases.clone(),
		Flows:      slices.Clone(t.Flows),
		Limits:     t.Limits,
	}
}

// Limits are the sizes of the kernel's maps, fixed when they are created.
// Slots is len(Tables.Slots).
type Limits struct {
	Services uint32 // ids 0 to Services-1 can be used
	VIPs     uint32 // a range of ports counts as its blocks
	Backends uint32 // indexes 1 to Backends-1 can be used
}

// ServiceEntry records which slots a service owns. Fingerprint names the
// members and weights that the slots were built from, so that a start need not
// rebuild a table that is already right.
type ServiceEntry struct {
	Name        string
	FirstSlot   uint32
	SlotCount   uint32
	Fingerprint uint64 // 0 while the slots are being written
}

// VIPEntry points a VIP at the slots of its service.
type VIPEntry struct {
	Service   uint32
	FirstSlot uint32
	SlotCount uint32
	// IdleSeconds is how long a remembered flow may be silent.
	IdleSeconds uint32
	// Unsettled says that some slot may have a phase other than Settled for the
	// VIP's protocol: without it the program does not look.
	Unsettled      bool
	TrackAlways    bool
	AffinityClient bool
	NAT            bool // all backends are NAT
	QUIC           QUIC // zero but for UDP
}

// sameTable tells whether two entries lead to the same slots.
func (e VIPEntry) sameTable(other VIPEntry) bool {
	return e.Service == other.Service && e.FirstSlot == other.FirstSlot && e.SlotCount == other.SlotCount
}

// BackendEntry is one backend of one service.
type BackendEntry struct {
	Service uint32
	ID
	Forward Forward
	Hop     Hop // zero if Dead
	// Dead keeps the index of a backend that is gone from being given to
	// another one, as long as a flow may name it. To the program it is none.
	Dead bool
}

// OuterFamilyV6 tells whether packets for the backend travel in IPv6.
func (e BackendEntry) OuterFamilyV6() bool { return e.Addr.Is6() && !e.Addr.Is4In6() }
