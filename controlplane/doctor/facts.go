package doctor

import "net/netip"

// Facts is what a host is like, and what the configuration wants of it. What is
// not known is left out, and then nothing is found about it.
type Facts struct {
	Host
	Program string // how this program is called
	PinDir  string // that its commands must be told of, "" where it is the usual one
	Rights  Rights
	Config  Config
	// Interfaces are those where packets for the VIPs arrive.
	Interfaces []string
	Ways       []Way
	NAT        *NAT
	Consul     *Consul
	Backend    *Backend // nil on a balancer
}

// Host is what a host is like, whoever wants what of it.
type Host struct {
	Release      string // of the kernel, "6.1.0-23-amd64"
	Distribution string // ID and ID_LIKE of os-release
	BTF          bool
	BPF          FileSystem
	CPUs         int
	Links        map[string]Link
	Sysctls      map[string]string // by path below /proc/sys
}

// FileSystem is where programs and maps are pinned.
type FileSystem struct {
	At       string // where it should be mounted
	Mounted  bool
	ReadOnly bool
}

// Rights are those that this process lacks of what the daemon needs.
type Rights struct {
	Missing []string // "CAP_BPF"
	Needed  []string
	// Bounded says that no program started from here can have them.
	Bounded bool
	Path    string // of this program's file
}

// Config is the file, as far as there is one.
type Config struct {
	Path     string
	Mistakes []string
}

// Link is a network interface.
type Link struct {
	Kind        string // as ip link calls it, "" for a network card
	Driver      string
	Up          bool
	MTU         int
	Prefixes    []netip.Prefix
	Above       []string // VLANs of it
	Features    map[string]bool
	Channels    Channels
	PeerSendsBy int // the transmit queues of a veth's other end, 0 where that is not here
	Program     Program
}

// Channels are the queues of an interface, those in use and the most there can be.
type Channels struct {
	RX, TX, Combined          int
	MostRX, MostTX, MostCombi int
}

// Program is the XDP program of an interface.
type Program struct {
	ID   uint32 // 0 is none
	Mode string // "native" or "generic"
	Ours bool
	Link uint32 // the id of the BPF link that holds it, 0 where none does
	// Unsure says that nobody could tell whose it is.
	Unsure bool
}

// Way is how packets get to a backend.
type Way struct {
	Service  string
	Backend  netip.Addr
	Overhead int  // of its forward, in bytes
	IPv6     bool // clients come by IPv6, too
	// Problem says why there is no way, else it is "".
	Problem   string
	Silent    netip.Addr // the neighbour that does not answer
	Interface string
	MTU       int
	// Route is the one that has an MTU of its own, as ip route takes it.
	Route string
}

// NAT is what forward = "nat" takes from this host.
type NAT struct {
	First, Last uint16
	Sources     []netip.Addr
}

// Consul is what came of asking the agent.
type Consul struct {
	Address   string
	Here      bool // on this host
	TokenFile string
	Faults    []Fault
	Encrypted bool
	Watches   int
	Limit     int    // of connections that the agent takes from one address, 0 where it does not say
	Accessor  string // of the token, where Consul tells
}

// Fault is a question that was not answered as it should be.
type Fault struct {
	Reason string // as status has it
	About  string
	What   string
	Advice string
}

// Backend is what a host is to be a backend of.
type Backend struct {
	Interface  string
	VIPs       []netip.Prefix
	Loopback   bool     // it is up
	NoIPv6     []string // interfaces without IPv6 that need it
	Missing    []Change
	Elsewhere  map[string]string // an interface other than lo for each VIP that it has
	NeedsDecap bool
	Attached   string // how the program is
	Takes      []netip.Prefix
	From       []string
	Mappings   []string // as --map takes them
	Unmapped   []string // those of Mappings that are not in effect
	Tunnels    []Tunnel
	Defaults   []Default
}

// Change is what lacks on a backend.
type Change struct {
	Kind  string // "sysctl", "address" or "route"
	Name  string
	Value string
	Why   string
}

// Tunnel is a device of the kernel that takes packets out of their tunnel.
type Tunnel struct {
	Name    string
	Filter  int    // rp_filter in effect
	Address bool   // it has an IPv4 address
	Local   string // the address that it ends at
}

// Default is a default route of a backend.
type Default struct {
	IPv6     bool
	Route    string // as ip route takes it
	MTU      int    // of its interface
	Segment  int    // what it asks clients for, 0 is nothing
	Overhead int    // of packets from the balancer
}
