// Package wild draws worlds and packets by dice: all that a balancer may hold,
// and all that may come in.
package wild

// Dice are bytes that decide; when they are used up, all fall on zero.
type Dice struct{ left []byte }

// NewDice are the dice of a case.
func NewDice(bytes []byte) *Dice { return &Dice{bytes} }

// perPacket is how many dice each packet has, used or not: a change in those of one
// packet leaves the others as they are.
const perPacket = 72

// next are the dice of the next packet.
func (d *Dice) next() *Dice { return d.nextOf(perPacket) }

func (d *Dice) nextOf(size int) *Dice {
	of := NewDice(d.left[:min(size, len(d.left))])
	d.left = d.left[len(of.left):]
	return of
}

// rest is what is left, as it is.
func (d *Dice) rest() []byte {
	rest := d.left
	d.left = nil
	return rest
}

// Over tells whether the dice are used up.
func (d *Dice) Over() bool { return len(d.left) == 0 }

// Roll returns a number from 0 to n-1, n at most 256.
func (d *Dice) Roll(n int) int {
	if len(d.left) == 0 {
		return 0
	}
	rolled := int(d.left[0]) % n
	d.left = d.left[1:]
	return rolled
}

// wide returns a number of 16 bits.
func (d *Dice) wide() int { return d.Roll(256)<<8 | d.Roll(256) }

// oneIn is true once in n times, and never when the dice are used up.
func (d *Dice) oneIn(n int) bool { return d.Roll(n) == n-1 }

func pick[T any](d *Dice, from []T) T { return from[d.Roll(len(from))] }
