package kernel

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane/fake"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// judge gives the same packets to the program and to the oracle, in worlds
// drawn by dice, and wants the same fate and the same memory.
func (c *court) judge(dice []byte, say func(string, ...any)) (census, error) {
	for {
		seen, err := c.hear(dice, say)
		if !errors.Is(err, errClockMoved) {
			return seen, err
		}
	}
}

// hear is one case: a world, then packets until the dice are used up.
func (c *court) hear(bytes []byte, say func(string, ...any)) (census, error) {
	seen := make(census)
	dice := wild.NewDice(bytes)
	number := uint16(dice.Roll(256)) | uint16(dice.Roll(256))<<8
	if err := c.enter(number); err != nil {
		return seen, err
	}
	for packets := 1; !dice.Over(); packets++ {
		if dice.Roll(8) == 7 {
			c.second += uint32(dice.Roll(12))
		}
		frame := dice.Frame()
		fate, err := c.try(frame)
		seen[fate.Outcome]++
		if err == nil && say != nil {
			err = c.sameCounters() // after each packet, to tell which one it is
		}
		if say != nil {
			say("%d. at second %d in world %d: %s\n%x", packets, c.second, number, fate.Outcome, frame)
		}
		if err != nil {
			return seen, err
		}
	}
	return seen, c.sameCounters()
}

// census counts what was seen.
type census map[oracle.Outcome]int

// uphold tells a case in which program and oracle differ as shortly as it can.
func (c *court) uphold(t testing.TB, dice []byte) census {
	t.Helper()
	seen, err := c.judge(dice, nil)
	if err == nil {
		return seen
	}
	dice = fake.Shorten(dice, func(dice []byte) bool {
		_, err := c.judge(dice, nil)
		return err != nil
	})
	t.Logf("the case of %q:", dice)
	_, err = c.judge(dice, t.Logf)
	t.Fatal(err)
	return nil
}

// try lets one packet meet its fate on both sides.
func (c *court) try(frame []byte) (oracle.Fate, error) {
	verdict, got, err := c.run(frame)
	if err != nil {
		return oracle.Fate{}, err
	}
	fate := c.oracle.Receive(oracle.Arrival{Frame: frame, Interface: loopback, Second: c.second})
	c.count(fate)
	switch {
	case verdict != uint32(fate.Verdict):
		return fate, fmt.Errorf("the program's verdict is %d, and the oracle says %s, %d", verdict, fate.Outcome, fate.Verdict)
	case fate.Verdict != oracle.Drop && !bytes.Equal(got, fate.Frame):
		return fate, fmt.Errorf("the program makes of it\n%x, and the oracle, for %s,\n%x", got, fate.Outcome, fate.Frame)
	}
	return fate, c.sameMemory()
}

func TestPrivilegedTheProgramDoesWithEveryPacketWhatTheOracleSays(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("repeat with SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	total := make(census)
	inCourt(t, func(c *court) {
		for end := time.Now().Add(patience(t)); time.Now().Before(end); {
			dice := make([]byte, 3000)
			for i := range dice {
				dice[i] = byte(random.Uint32())
			}
			for outcome, n := range c.uphold(t, dice) {
				total[outcome] += n
			}
		}
	})
	packets := 0
	for _, n := range total {
		packets += n
	}
	t.Logf("%d packets: %v", packets, total)
	for _, outcome := range wild.Outcomes {
		if total[outcome] == 0 {
			t.Errorf("the packets prove little: none was %s", outcome)
		}
	}
}

// patience is how long packets are drawn: ORACLE_TIME says for how long by hand.
func patience(t *testing.T) time.Duration {
	t.Helper()
	if given := os.Getenv("ORACLE_TIME"); given != "" {
		parsed, err := time.ParseDuration(given)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	if testing.Short() {
		return time.Second
	}
	return 15 * time.Second
}

func FuzzPrivilegedOracle(f *testing.F) {
	inCourt(f, func(c *court) {
		f.Fuzz(func(t *testing.T, dice []byte) { c.uphold(t, dice) })
	})
}
