package dataplane

import (
	"fmt"
	"net/netip"
	"slices"
)

// NATSettings say how connections of the mode nat are made, and how long they
// may be silent. A connection keeps what it was made with.
type NATSettings struct {
	// Sources are addresses of this host that backends see, at most MaxNATSources of
	// a family. Where there are none of a backend's family, it sees Hop.Source.
	Sources []netip.Addr
	// FirstPort and Ports are the range of source ports, both multiples of
	// NATPortStep. Sockets of the host must not use it.
	FirstPort, Ports uint16
	Timeouts         NATTimeouts
}

// MaxNATSources is how many sources of a family there can be, as NAT_SOURCES_MAX
// in bpf/nat_types.h.
const MaxNATSources = 8

// NATPortStep is how many neighbouring ports are kept together.
const NATPortStep = 8

// NATTimeouts are seconds of silence after which a connection is over and its
// port free.
type NATTimeouts struct {
	SYN         uint32 // TCP, until the client has proved that it hears the backend
	FirstAnswer uint32 // UDP, until the client has gone on after an answer
	Established uint32
	HalfClosed  uint32 // by one side
	LastAck     uint32 // closed, the client first; the backend may send its FIN again
	TimeWait    uint32 // closed, the backend first, which remembers the port
	Reset       uint32
	UDP         uint32
}

// DefaultNATSettings are RFC 5382's and RFC 4787's timeouts where those say any
// (REQ-5 of both), Linux's own for TIME-WAIT, and ports below those that Linux
// gives to sockets.
func DefaultNATSettings() NATSettings {
	return NATSettings{
		FirstPort: 1024, Ports: 31744,
		Timeouts: NATTimeouts{
			SYN: 8, FirstAnswer: 30, Established: 7440, HalfClosed: 240, LastAck: 10, TimeWait: 60, Reset: 60, UDP: 300,
		},
	}
}

// Equal tells whether two settings say the same.
func (s NATSettings) Equal(other NATSettings) bool {
	return slices.Equal(s.Sources, other.Sources) && s.FirstPort == other.FirstPort && s.Ports == other.Ports &&
		s.Timeouts == other.Timeouts
}

// Check says what the program could not work with.
func (s NATSettings) Check() error {
	families := make(map[bool]int)
	for _, source := range s.Sources {
		families[source.Is4()]++
	}
	switch {
	case max(families[true], families[false]) > MaxNATSources:
		return fmt.Errorf("there can be %d nat sources of a family", MaxNATSources)
	case s.FirstPort%NATPortStep != 0 || s.Ports%NATPortStep != 0 || int(s.FirstPort)+int(s.Ports) > 1<<16:
		return fmt.Errorf("%d source ports from %d on are no multiples of %d in the range of ports", s.Ports, s.FirstPort, NATPortStep)
	}
	return nil
}

// Connection is one connection of the mode nat that is not over.
type Connection struct {
	Protocol Protocol
	Client   netip.AddrPort
	VIP      netip.AddrPort
	Source   netip.AddrPort // the client as the backend sees it
	Backend  netip.AddrPort
	Index    uint32 // of the backend
	State    string // as enum connection_state of bpf/nat_types.h has it, such as "syn-ack"
	HalfOpen bool   // gives way to newer ones
	Closed   bool   // on both sides, or reset: its client's next SYN may begin another
	Retired  bool   // closed, and its client has begun another: only its port is still taken
	Begun    uint32 // a second of the monotonic clock, as the next
	Expires  uint32 // the first second in which it is over, if nothing comes
}

// PutNAT is the step that changes how connections are made.
type PutNAT struct{ Settings NATSettings }

// SeeNAT is the step that lets the program look for answers to connections, or
// not.
type SeeNAT struct{ On bool }

func (s PutNAT) String() string {
	return fmt.Sprintf("make connections of nat from %d ports from %d on of %d addresses", s.Settings.Ports, s.Settings.FirstPort, len(s.Settings.Sources))
}

func (s SeeNAT) String() string {
	if s.On {
		return "look for answers of nat backends"
	}
	return "look for no answers of nat backends"
}

// Replay of each step makes its change to tables in memory.
func (s PutNAT) Replay(t *Tables) { t.NAT = s.Settings }
func (s SeeNAT) Replay(t *Tables) { t.SeesNAT = s.On }
