package oracle

import (
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Connection is one of nat: a client's flow to a VIP, and the flow towards a
// backend that it has become.
type Connection struct {
	Protocol    dataplane.Protocol
	Client, VIP netip.AddrPort
	Source      netip.AddrPort // the client as the backend sees it
	Backend     netip.AddrPort
	Index       uint32 // of the backend
	State       State
	Heard       uint32 // when something last let it go on
	Expires     uint32 // the last second of its life
	Begun       uint32
	ISN         uint32 // that the backend has chosen; who acknowledges it has heard the backend
	Back        WayBack
}

// WayBack is how packets reach a client: as its latest one came.
type WayBack struct {
	dataplane.Hop
	Longest int // packet that the interface takes
}

// lives tells whether a connection is not over at a second. One that is not there
// is over.
func (c *Connection) lives(second uint32) bool {
	return c != nil && int32(c.Expires-second) >= 0
}

// serves tells whether packets still belong to it.
func (c *Connection) serves(second uint32) bool {
	return c.lives(second) && c.State != Retired
}

func (c *Connection) isClosed() bool {
	switch c.State {
	case LastAck, TimeWait, ResetByClient, ResetByBackend:
		return true
	}
	return false
}

func (c *Connection) isHalfOpen() bool {
	switch c.State {
	case SYN, SYNACK, OneWay, Answered:
		return true
	}
	return false
}

// perLine is how many connections, and how many ports, are a cache line.
const perLine = 8

// Line are places for connections.
type Line [perLine]*Connection

// Connections are the table of nat. A client's flow has two lines, and its
// connection is in either.
type Connections struct {
	Lines []Line
	hash  dataplane.Hash
}

// NewConnections are places for a power of two of connections, of which there are
// none.
func NewConnections(places int, hash dataplane.Hash) *Connections {
	return &Connections{Lines: make([]Line, places/perLine), hash: hash}
}

// Hold puts a connection into a place, as if it had begun before anybody looked.
func (b *Balancer) Hold(place int, c Connection) *Connection {
	c.Back.Longest = min(b.MTU[c.Back.Interface], 0xffff)
	b.Connections.Lines[place/perLine][place%perLine] = &c
	return &c
}

// LinesOf are those of a client's flow, by independent parts of its hash.
func (t *Connections) LinesOf(client, vip netip.AddrPort, protocol dataplane.Protocol) [2]*Line {
	hash := t.hash.Flow(client, dataplane.VIP{Addr: vip.Addr(), Port: vip.Port(), Protocol: protocol})
	mask := uint64(len(t.Lines) - 1)
	return [2]*Line{&t.Lines[hash&mask], &t.Lines[hash>>22&mask]}
}

// all are those that live at a second.
func (t *Connections) all(second uint32) func(yield func(*Connection) bool) {
	return func(yield func(*Connection) bool) {
		for i := range t.Lines {
			for _, c := range t.Lines[i] {
				if c.lives(second) && !yield(c) {
					return
				}
			}
		}
	}
}

// has tells whether a connection is in the table: others push out what is half open.
func (t *Connections) has(c *Connection) bool {
	for i := range t.Lines {
		if slices.Contains(t.Lines[i][:], c) {
			return true
		}
	}
	return false
}

// OfClient is the connection that a client's packet belongs to, or nil.
func (t *Connections) OfClient(client, vip netip.AddrPort, protocol dataplane.Protocol, second uint32) *Connection {
	for _, line := range t.LinesOf(client, vip, protocol) {
		for _, c := range line {
			if c.serves(second) && c.Client == client && c.VIP == vip && c.Protocol == protocol {
				return c
			}
		}
	}
	return nil
}

// OfBackend is the connection that a backend's packet belongs to, or nil.
func (t *Connections) OfBackend(backend, source netip.AddrPort, protocol dataplane.Protocol, second uint32) *Connection {
	for c := range t.all(second) {
		if c.serves(second) && c.Backend == backend && c.Source == source && c.Protocol == protocol {
			return c
		}
	}
	return nil
}

// claim takes a place for a new connection: in the first line while that is no
// more than half full, else in the emptier; a free one, or else that of the
// half-open connection which is silent for longest; never another one's. Nil if
// there is none. Who had it is pushed out.
func (t *Connections) claim(client, vip netip.AddrPort, protocol dataplane.Protocol, second uint32) **Connection {
	lines := t.LinesOf(client, vip, protocol)
	line := lines[0]
	if line.living(second) > perLine/2 && lines[1].isBetter(line, second) {
		line = lines[1]
	}
	best, silence := -1, int64(-1)
	for i := range line {
		if s := line.willingness(i, second); s > silence {
			best, silence = i, s
		}
	}
	if best < 0 {
		return nil
	}
	line[best] = nil
	return &line[best]
}

func (l *Line) living(second uint32) (n int) {
	for _, c := range l {
		if c.lives(second) {
			n++
		}
	}
	return n
}

const isFree = int64(1) << 40

// willingness is how gladly a place is given away: below zero if not at all.
func (l *Line) willingness(i int, second uint32) int64 {
	c := l[i]
	switch {
	case !c.lives(second):
		return isFree
	case c.isHalfOpen():
		return int64(second - c.Heard)
	}
	return -1
}

// isBetter compares two lines for a new connection.
func (l *Line) isBetter(than *Line, second uint32) bool {
	mine, theirs := int64(-1), int64(-1)
	for i := range l {
		mine, theirs = max(mine, l.willingness(i, second)), max(theirs, than.willingness(i, second))
	}
	return mine > theirs || mine == theirs && l.living(second) < than.living(second)
}
