// Package oracle says what becomes of a packet. It is a second implementation
// of the program's semantics, written from the RFCs and ARCHITECTURE.md to be
// read, not to be fast: one file a concern. The program in the kernel is held to
// it, packet by packet, by the fuzz target in dataplane/kernel.
package oracle

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// Arrival is a frame that comes in.
type Arrival struct {
	Frame     []byte
	Interface uint32
	Second    uint32 // of the monotonic clock
	Headroom  int    // bytes that the driver has left in front of the frame
	WasHeld   bool   // and is sent again
}

// Fate is what becomes of a packet.
type Fate struct {
	Outcome Outcome
	Verdict Verdict
	// Frame is what leaves, or what the host gets: of no interest where the
	// packet is dropped.
	Frame []byte
	// Backend is the index that the packet is counted with, if it is forwarded;
	// Bytes are those of IP, and NewFlow tells whether it is a SYN.
	Backend uint32
	Bytes   int
	NewFlow bool
	// FreeID is where an IPv4 header begins whose identification is the program's to
	// choose; 0 if there is none.
	FreeID int
	// Held is what whoever holds a fragment is told of its packet.
	Held FragmentKey
}

// Outcome is what became of a packet, and why, by its name in bpf/types.h. The
// empty one means that nothing objects so far.
type Outcome string

// The outcomes.
const (
	none             Outcome = ""
	Forward          Outcome = "FORWARD"
	PassNotIP        Outcome = "PASS_NOT_IP"
	PassNotTCPUDP    Outcome = "PASS_NOT_TCP_UDP"
	PassNotVIP       Outcome = "PASS_NOT_VIP"
	PassICMP         Outcome = "PASS_ICMP"
	PassUnreadable   Outcome = "PASS_UNREADABLE"
	ReplyEcho        Outcome = "REPLY_ECHO"
	ReplyTooBig      Outcome = "REPLY_TOO_BIG"
	ReplyTooBigNoDF  Outcome = "REPLY_TOO_BIG_NO_DF"
	ReplySourceRoute Outcome = "REPLY_SOURCE_ROUTE"
	ReplyBackend     Outcome = "REPLY_BACKEND"
	HoldFragment     Outcome = "HOLD_FRAGMENT"
	DropUnreadable   Outcome = "DROP_UNREADABLE"
	DropBadLength    Outcome = "DROP_BAD_LENGTH"
	DropBadFlags     Outcome = "DROP_BAD_FLAGS"
	DropBadChecksum  Outcome = "DROP_BAD_CHECKSUM"
	DropLoop         Outcome = "DROP_LOOP"
	DropFragment     Outcome = "DROP_FRAGMENT"
	DropICMPQuote    Outcome = "DROP_ICMP_QUOTE"
	DropNoBackend    Outcome = "DROP_NO_BACKEND"
	DropNoConnection Outcome = "DROP_NO_CONNECTION"
	DropNATFull      Outcome = "DROP_NAT_FULL"
	DropNATPorts     Outcome = "DROP_NAT_PORTS"
	DropNATFamily    Outcome = "DROP_NAT_FAMILY"
	DropTTL          Outcome = "DROP_TTL"
	DropTooBig       Outcome = "DROP_TOO_BIG"
	DropNoHeadroom   Outcome = "DROP_NO_HEADROOM"
	DropNoEgress     Outcome = "DROP_NO_EGRESS"
)

// Verdict is what the program returns: enum xdp_action of linux/bpf.h.
type Verdict uint32

// The verdicts.
const (
	Drop     Verdict = 1
	Pass     Verdict = 2
	TX       Verdict = 3
	Redirect Verdict = 4
)

// Balancer is all that a packet's fate depends on, and what packets leave
// behind: flows and seconds in the tables, fragments, errors sent.
type Balancer struct {
	Settings
	Tables    *dataplane.Tables
	Hash      dataplane.Hash
	Flows     *fake.Balancer // balances by the same tables
	Fragments map[FragmentKey]FragmentWay
	// Connections are those of nat. Choose chooses their sources, within a law:
	// Unlawful says how the last choice broke it.
	Connections *Connections
	Choose      Chooser
	Unlawful    error
	errors      budget
	vips        []dataplane.VIP // the most specific first
}

// Settings are the same for all packets.
type Settings struct {
	ErrorsPerSecond uint32         // how many packets that are too big are answered
	Holds           bool           // somebody holds fragments that come before their first
	Connections     int            // of nat that there is room for
	MTU             map[uint32]int // of interfaces
}

// New returns a balancer that remembers what the tables do and nothing else.
func New(tables *dataplane.Tables, hash dataplane.Hash, settings Settings) *Balancer {
	b := &Balancer{
		Settings:    settings,
		Tables:      tables,
		Hash:        hash,
		Flows:       fake.NewBalancer(tables, hash),
		Fragments:   make(map[FragmentKey]FragmentWay),
		Connections: NewConnections(settings.Connections, hash),
		vips:        mostSpecificFirst(tables.VIPs),
	}
	b.Choose = func(c *Connection) (netip.AddrPort, bool) { return b.anyPort(c, c.Begun) }
	return b
}

// Change makes a change to the tables. A range of ports is one VIP here, however
// the kernel holds it.
func (b *Balancer) Change(step dataplane.Step) {
	step.Replay(b.Tables)
	b.vips = mostSpecificFirst(b.Tables.VIPs)
}

// Receive is the way of a packet. It never changes the arrival's frame.
func (b *Balancer) Receive(a Arrival) Fate {
	p, objection := read(a)
	switch {
	case objection != none:
		return p.rejected(objection)
	case p.broken:
		return b.unreadable(p)
	case p.isICMP():
		return b.icmp(p)
	case !p.hasPorts():
		return p.rejected(PassNotTCPUDP)
	case p.isLaterFragment():
		return b.laterFragment(p)
	}
	return b.balance(p)
}

// balance sends a whole packet, or a first fragment, the way of its flow.
func (b *Balancer) balance(p *packet) Fate {
	if objection := p.readTransport(); objection != none {
		return b.unreadable(p)
	}
	vip, known := b.findVIP(p.to)
	if !known {
		if fate, found := b.answer(p); found {
			return fate
		}
		b.rememberOwn(p)
		return p.rejected(PassNotVIP)
	}
	if objection := p.judge(); objection != none {
		return p.rejected(objection)
	}
	if vip.NAT {
		return b.request(p, vip)
	}
	backend, alive := b.pick(p, vip)
	if !alive {
		return p.rejected(DropNoBackend)
	}
	entropy := b.Hash.Entropy(p.from, p.to, vip)
	if p.isFirstFragment() {
		b.rememberFragment(p, backend, entropy)
	}
	return b.send(p, backend, entropy)
}

// unreadable is the fate of a packet whose destination could be read and whose
// ports could not.
func (b *Balancer) unreadable(p *packet) Fate {
	if b.isVIPAddress(p.destination) {
		return p.rejected(DropUnreadable)
	}
	return p.rejected(PassUnreadable)
}

// rejected is the fate of a packet that goes no further: the verdict is in the
// outcome's name, the frame stays as it came.
func (p *packet) rejected(outcome Outcome) Fate {
	verdict := Drop
	if strings.HasPrefix(string(outcome), "PASS_") {
		verdict = Pass
	}
	return Fate{Outcome: outcome, Verdict: verdict, Frame: bytes.Clone(p.arrival.Frame)}
}
