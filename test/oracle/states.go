package oracle

import "github.com/pointsman/pointsman/dataplane"

// State is what a connection is going through, by the name that people see.
type State string

// The states.
const (
	SYN            State = "syn"
	SYNACK         State = "syn-ack"
	OneWay         State = "one-way"
	Answered       State = "answered"
	Established    State = "established"
	Stream         State = "stream"
	FINByClient    State = "fin-client"
	FINByBackend   State = "fin-backend"
	LastAck        State = "last-ack"
	TimeWait       State = "time-wait"
	ResetByClient  State = "reset-client"
	ResetByBackend State = "reset-backend"
	Retired        State = "retired"
)

// timeout is for how many seconds a state may be silent.
func timeout(state State, t dataplane.NATTimeouts) uint32 {
	return map[State]uint32{
		SYN: t.SYN, SYNACK: t.SYN, OneWay: t.FirstAnswer, Answered: t.FirstAnswer,
		Established: t.Established, Stream: t.UDP, FINByClient: t.HalfClosed, FINByBackend: t.HalfClosed,
		LastAck: t.LastAck, TimeWait: t.TimeWait, Retired: t.TimeWait, ResetByClient: t.Reset, ResetByBackend: t.Reset,
	}[state]
}

// side is who has sent a packet.
type side int

const (
	byClient side = iota
	byBackend
)

// step is a state, and who sends what means something in it.
type step struct {
	from State
	by   side
}

var (
	afterDatagram = map[step]State{
		{OneWay, byBackend}:  Answered,
		{Answered, byClient}: Stream, // who forges a source does not go on
	}
	afterFIN = map[step]State{
		{Established, byClient}:  FINByClient,
		{Established, byBackend}: FINByBackend,
		{FINByClient, byBackend}: LastAck,
		{FINByBackend, byClient}: TimeWait,
	}
	afterReset = map[step]State{
		{Established, byClient}:   ResetByClient,
		{Established, byBackend}:  ResetByBackend,
		{FINByClient, byClient}:   ResetByClient,
		{FINByClient, byBackend}:  ResetByBackend,
		{FINByBackend, byClient}:  ResetByClient,
		{FINByBackend, byBackend}: ResetByBackend,
	}
	// Whoever goes on after his own RST has not sent it.
	revived = map[step]State{
		{ResetByClient, byClient}:   Established,
		{ResetByBackend, byBackend}: Established,
	}
)

// overtaken is for how many seconds a segment may be an older one, that its
// sender's RST has overtaken.
const overtaken = 2

// proofWindow is how far behind the first byte of the backend an acknowledgement
// proves that its sender has seen the backend's sequence number.
const proofWindow = 65536

func next(steps map[step]State, from State, by side) State {
	if to, known := steps[step{from, by}]; known {
		return to
	}
	return from
}

// hear lets a packet mean to its connection what it does.
func (b *Balancer) hear(c *Connection, p *packet, by side) {
	before := c.State
	switch {
	case p.protocol == protocolUDP:
		c.State = next(afterDatagram, before, by)
	default:
		c.hearSegment(p, by)
	}
	if c.State != before || renews(before, p.tcpFlags(), by) {
		c.Heard = p.arrival.Second
		c.Expires = c.Heard + timeout(c.State, b.Tables.NAT.Timeouts)
	}
}

func (c *Connection) hearSegment(p *packet, by side) {
	flags, header := p.tcpFlags(), p.transport()
	switch {
	case flags&flagSYN != 0:
		if by == byBackend && (c.State == SYN || c.State == SYNACK) {
			c.State, c.ISN = SYNACK, be32(header[4:]) // its latest word
		}
		return
	case flags&flagRST != 0:
		c.State = next(afterReset, c.State, by)
		return
	}
	if p.arrival.Second-c.Heard >= overtaken {
		c.State = next(revived, c.State, by)
	}
	acknowledged := be32(header[8:]) - (c.ISN + 1)
	if c.State == SYNACK && by == byClient && flags&flagACK != 0 && acknowledged < proofWindow {
		c.State = Established
	}
	switch {
	case flags&flagFIN != 0:
		c.State = next(afterFIN, c.State, by)
	case c.State == LastAck && by == byBackend: // acknowledges a FIN after its own: both were closing
		c.State = TimeWait
	}
}

// renews tells whether a packet that changes nothing lets its connection go on:
// half open, only by the client's wish to open it; closed by a RST, by nothing.
func renews(state State, flags uint8, by side) bool {
	switch state {
	case SYN, SYNACK:
		return by == byClient && flags&flagSYN != 0
	case ResetByClient, ResetByBackend:
		return false
	}
	return flags&flagSYN == 0
}
