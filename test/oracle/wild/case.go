package wild

import (
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
)

// Case is a world and what happens in it, drawn by dice.
type Case struct {
	*World
	Number     uint16 // of the world
	second     uint32
	dice       *Dice
	past       [][]byte  // frames
	left       [][]byte  // that were translated
	came       []byte    // the latest
	translated [2][]byte // one as it came, and as it left
}

// Event is a packet, and what changes before it comes.
type Event struct {
	Changes []dataplane.Step // a range of ports is one VIP
	oracle.Arrival
}

// Plenty of room in front of a frame: more than anything needs.
const Plenty = 128

// NewCase is the case of some dice, and begins at the same second whenever it is
// heard.
func NewCase(bytes []byte, at Interfaces) *Case {
	dice := NewDice(bytes)
	number := uint16(dice.wide())
	second := 5000 + uint32(number)
	world := NewWorld(number, at, second)
	return &Case{World: world, Number: number, second: second, dice: dice, left: world.seen()}
}

// Next is what happens next, until the dice are used up.
func (c *Case) Next() (event Event, more bool) {
	if c.dice.Over() {
		return Event{}, false
	}
	d := c.dice.next()
	switch d.Roll(64) {
	case 63:
		c.second += uint32(d.wide())
	case 56, 57, 58, 59, 60, 61, 62:
		c.second += uint32(d.Roll(12))
	}
	if d.oneIn(24) {
		event.Changes = c.change(d, c.second)
	}
	event.Arrival = oracle.Arrival{Interface: c.at.Loopback, Second: c.second, Headroom: Plenty}
	if d.oneIn(8) {
		event.Interface = c.at.Egress
	}
	if d.oneIn(8) {
		event.Headroom = 4 * d.Roll(18)
	}
	event.WasHeld = d.oneIn(16)
	event.Frame = c.frame(d)
	c.came = event.Frame
	return event, true
}

// Met tells the case what became of its latest packet: who gets it may answer.
func (c *Case) Met(fate oracle.Fate) {
	if fate.Outcome == oracle.Forward {
		c.latest = fate.Backend
	}
	toBackend := fate.Outcome == oracle.Forward && c.World.backends[fate.Backend].Forward == dataplane.NAT
	if !toBackend && fate.Outcome != oracle.ReplyBackend {
		return
	}
	c.translated = [2][]byte{c.came, fate.Frame}
	if c.left = append(c.left, fate.Frame); len(c.left) > past {
		c.left = c.left[1:]
	}
}
