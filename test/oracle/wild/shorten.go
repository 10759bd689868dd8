package wild

import "slices"

// worldDice is how many dice choose the world.
const worldDice = 2

// Shorten is a case with as few packets as can be, and their dice at zero where
// that will do, of which something is so.
func Shorten(dice []byte, isSo func([]byte) bool) []byte { return shorten(dice, perPacket, isSo) }

// ShortenLives does so with lives.
func ShortenLives(dice []byte, isSo func([]byte) bool) []byte { return shorten(dice, perLiving, isSo) }

func shorten(dice []byte, perPacket int, isSo func([]byte) bool) []byte {
	for packets := (len(dice) - worldDice) / perPacket; packets > 0; packets /= 2 {
		for at := worldDice; at < len(dice); {
			without := slices.Delete(slices.Clone(dice), at, min(at+packets*perPacket, len(dice)))
			if isSo(without) {
				dice = without
			} else {
				at += packets * perPacket
			}
		}
	}
	return tame(dice, worldDice, isSo)
}

// ShortenDirect is one packet of Direct with its dice at zero where that will do.
func ShortenDirect(dice []byte, isSo func([]byte) bool) []byte { return tame(dice, 0, isSo) }

// tame has dice at zero from a place on, and leaves out those at the end.
func tame(dice []byte, from int, isSo func([]byte) bool) []byte {
	for at := from; at < len(dice); at++ {
		tame := slices.Clone(dice)
		tame[at] = 0
		if dice[at] != 0 && isSo(tame) {
			dice = tame
		}
	}
	for len(dice) > 0 && dice[len(dice)-1] == 0 && isSo(dice[:len(dice)-1]) {
		dice = dice[:len(dice)-1]
	}
	return dice
}
