package dataplane

// Attachment is one interface whose packets the balancer looks at, and how.
type Attachment struct {
	Interface string
	Index     uint32 // ifindex
	Mode      string // "native" or "generic"
	Reason    string // why not native; "" where it is
}

// BackendCounters are what one backend of one service was sent since its index
// was given to it, summed over the CPUs.
type BackendCounters struct {
	Packets  uint64
	Bytes    uint64 // of IP, as the client sent it
	NewFlows uint64 // TCP SYNs; zero for UDP, whose flows show no beginning
}

// Counters is everything that the program counts. A packet is in exactly one
// outcome; FORWARD holds those sent to backends that are gone, too.
type Counters struct {
	Backends map[uint32]BackendCounters // by index
	Outcomes map[string]uint64          // packets, by the name in bpf/types.h
	// ByInterface are those of Outcomes that came by an interface, by its index and the
	// outcome, but for FORWARD: a packet is counted once, and that is with its backend.
	// Outcomes without any are left out.
	ByInterface map[uint32]map[string]uint64
	// Dropped are packets of services that went nowhere, or were held, by the service's
	// id and the outcome; those are in Outcomes, too. Nobody knows whose a packet is whose
	// headers cannot be read. Outcomes without any are left out.
	Dropped map[uint32]map[string]uint64
	Flows   FlowCounters
}

// FlowCounters are the events of the flow table. Evicted are those of Inserted
// that took the place of an expired flow; Refused found their bucket full of
// living ones, or lost their place to another CPU.
type FlowCounters struct {
	Inserted, Evicted, Refused uint64
}
