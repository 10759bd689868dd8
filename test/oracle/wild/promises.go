package wild

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

// Promises are what nat promises of lives, held against nothing but the packets on
// both sides: no connection is pushed out once its client has been heard to hear its
// backend; no port is given to another while its backend may remember; and answers
// reach who has asked.
type Promises struct {
	lives map[flowEnds]*life
	ports map[flowEnds]*life // by source and backend
	// might is how many packets have begun connections, or might have: each may have
	// pushed a half-open one out, which nobody on the way sees of a datagram's.
	might int
	Kept  struct{ Established, Closed, Reused, PushedOut int }
}

// flowEnds are two ends, of which the first has begun.
type flowEnds struct {
	from, to netip.AddrPort
	protocol uint8
}

// life is a connection as far as somebody on the way can tell.
type life struct {
	client, port flowEnds
	begun        uint32
	spoke        uint32 // when its latest packet passed
	sequence     uint32 // of the backend
	answered     bool
	might        int  // when it was
	open         bool // its client has been heard to hear the backend
	finBy        [2]bool
	first        int  // who has closed first
	over         bool // by a RST
	gone         bool // its backend has died at some time
	resetBy      int
	retired      uint32 // when its client has begun another
}

// NewPromises are of lives that have not begun.
func NewPromises() *Promises {
	return &Promises{lives: make(map[flowEnds]*life), ports: make(map[flowEnds]*life)}
}

// Change notes who dies: a promise of what is there is none of what is gone.
func (p *Promises) Change(step dataplane.Step) {
	if put, ok := step.(dataplane.PutBackend); ok && put.Entry.Dead {
		for _, l := range p.lives {
			if l.port.to == netip.AddrPortFrom(put.Entry.Addr, put.Entry.Port) {
				l.gone = true
			}
		}
	}
}

// remembers is until when the backend of a life may know of it.
func (l *life) remembers() uint32 {
	t := dataplane.DefaultNATSettings().Timeouts
	switch {
	case l.retired > 0 && l.open:
		return l.retired + t.TimeWait
	case l.over: // by a RST
		return l.spoke + t.Reset
	case l.client.protocol == packet.UDPIP && l.open:
		return l.spoke + t.UDP
	case !l.open && !l.finBy[0] && !l.finBy[1]: // half open: nobody has said that it is kept
		return 0
	case l.finBy[0] && l.finBy[1] && l.first == 0:
		return l.spoke + t.LastAck
	case l.finBy[0] && l.finBy[1]:
		return l.spoke + t.TimeWait
	case l.finBy[0] || l.finBy[1]:
		return l.spoke + t.HalfClosed
	}
	return l.spoke + t.Established
}

// lasts is until when a life may go on at all.
func (l *life) lasts() uint32 {
	t := dataplane.DefaultNATSettings().Timeouts
	switch {
	case l.remembers() > 0:
		return l.remembers()
	case l.client.protocol == packet.UDPIP:
		return l.spoke + t.FirstAnswer
	}
	return l.spoke + t.SYN
}

// isKept tells whether a life has to go on: once it is closed, its client may begin
// another.
func (l *life) isKept(second uint32) bool {
	return l.open && !l.gone && !l.over && !(l.finBy[0] && l.finBy[1]) && second <= l.remembers()
}

// See holds a packet's fate against the promises.
func (p *Promises) See(a oracle.Arrival, fate oracle.Fate) error {
	in, ok := readFrame(a.Frame)
	if !ok {
		return nil
	}
	ends := flowEnds{in.from, in.to, in.protocol}
	if answered := p.ports[flowEnds{in.to, in.from, in.protocol}]; answered != nil {
		return p.seeAnswer(answered, in, fate, a.Second)
	}
	known, out := p.lives[ends], got{}
	if known != nil && a.Second > known.lasts() {
		known = nil
	}
	if known == nil || !known.open || known.gone || isSYN(in) {
		defer func() { p.might++ }()
	}
	if fate.Outcome != oracle.Forward {
		if known != nil && known.retired == 0 && known.isGivenUp(in, fate.Outcome) {
			known.retired = a.Second // to begin another failed
		}
		if known != nil && known.isKept(a.Second) && !isSYN(in) {
			return fmt.Errorf("an open connection meets %s: %+v", fate.Outcome, *known)
		}
		return nil
	}
	out, _ = readFrame(fate.Frame)
	port := flowEnds{out.from, out.to, out.protocol}
	if known == nil || known.port != port {
		if known != nil && known.isKept(a.Second) && !isSYN(in) {
			return fmt.Errorf("an open connection goes on as %v: %+v", port, *known)
		}
		if err := p.begin(ends, port, a.Second); err != nil {
			return err
		}
	}
	l := p.lives[ends]
	if isSYN(in) && (l.over || l.finBy[0] && l.finBy[1]) {
		p.ports[port] = nil
		if err := p.begin(ends, port, a.Second); err != nil { // it goes on as a new one
			return err
		}
		l = p.lives[ends]
	}
	l.hear(in, 0, a.Second, p.might)
	p.count(l)
	return nil
}

// isGivenUp tells whether a life ended with a packet that was to begin another: one
// whose backend is gone, and one that is closed where there was no other to be had.
func (l *life) isGivenUp(in got, outcome oracle.Outcome) bool {
	if l.gone {
		return isSYN(in) || in.protocol == packet.UDPIP
	}
	closed := l.over || l.finBy[0] && l.finBy[1]
	return closed && isSYN(in) && (outcome == oracle.DropNoBackend || outcome == oracle.DropNATFull || outcome == oracle.DropNATPorts)
}

// begin gives a port to a life.
func (p *Promises) begin(client, port flowEnds, second uint32) error {
	if before := p.ports[port]; before != nil {
		if second <= before.remembers() {
			return fmt.Errorf("the port of %v at second %d was that of %+v, whose backend may remember it", client, second, *before)
		}
		p.Kept.Reused++
		if before.spoke+8 > second && p.lives[before.client] == before {
			p.Kept.PushedOut++
		}
		if p.lives[before.client] == before {
			delete(p.lives, before.client)
		}
	}
	if before := p.lives[client]; before != nil && before.port != port && before.retired == 0 && second <= before.lasts() {
		before.retired = second
	}
	l := &life{client: client, port: port, begun: second, spoke: second}
	p.lives[client], p.ports[port] = l, l
	return nil
}

// seeAnswer holds an answer against who has asked.
func (p *Promises) seeAnswer(l *life, in got, fate oracle.Fate, second uint32) error {
	if fate.Outcome != oracle.ReplyBackend {
		if l.isKept(second) && p.lives[l.client] == l {
			return fmt.Errorf("an answer to an open connection meets %s: %+v", fate.Outcome, *l)
		}
		return nil
	}
	out, _ := readFrame(fate.Frame)
	if out.to != l.client.from || out.from != l.client.to {
		return fmt.Errorf("an answer to %+v goes to %s from %s", *l, out.to, out.from)
	}
	l.hear(in, 1, second, p.might)
	p.count(l)
	return nil
}

func (p *Promises) count(l *life) {
	if l.open {
		p.Kept.Established++
	}
	if l.finBy[0] && l.finBy[1] {
		p.Kept.Closed++
	}
}

func isSYN(g got) bool { return g.protocol == packet.TCPIP && g.segment[13]&packet.SYN != 0 }

// hear takes a packet that has passed for what it says; by is 0 for the client.
func (l *life) hear(g got, by int, second uint32, might int) {
	if g.protocol == packet.UDPIP {
		l.spoke = second
		l.open = l.open || l.answered && by == 0 && l.might == might
		if by == 1 && !l.open {
			l.answered, l.might = true, might
		}
		return
	}
	flags := g.segment[13]
	if l.over && by == l.resetBy && second-l.spoke >= 2 && flags&(packet.SYN|packet.RST) == 0 {
		l.over, l.finBy = false, [2]bool{} // somebody else had sent the RST
	}
	switch {
	case l.over:
	case flags&packet.SYN != 0 && by == 1 && !l.open:
		l.answered, l.spoke, l.sequence = true, second, binary.BigEndian.Uint32(g.segment[4:])
	case flags&packet.SYN != 0 && !l.open:
		l.answered, l.spoke = false, second // it has to be answered again
	case flags&packet.SYN != 0:
	case flags&packet.RST != 0:
		if l.open && !(l.finBy[0] && l.finBy[1]) {
			l.over, l.resetBy, l.spoke = true, by, second
		} else if l.finBy[0] && l.finBy[1] {
			l.spoke = second
		}
	case !l.open && by == 0 && l.answered && flags&packet.ACK != 0 && binary.BigEndian.Uint32(g.segment[8:]) == l.sequence+1:
		l.open = true
		fallthrough
	case l.open:
		l.spoke = second
		if l.finBy[0] && l.finBy[1] && by == 1 && flags&packet.FIN == 0 {
			l.first = 1 // they have closed at the same time
		}
		if flags&packet.FIN != 0 && !l.finBy[by] {
			if !l.finBy[1-by] {
				l.first = by
			}
			l.finBy[by] = true
		}
	}
}
