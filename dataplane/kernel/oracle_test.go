package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// judge gives the same packets to the program and to the oracle, in worlds
// drawn by dice, and wants the same fate and the same memory.
func (c *court) judge(dice []byte, say func(string, ...any)) (census, error) {
	for {
		seen, err := c.hear(dice, say)
		c.brokenOff = err != nil
		if !errors.Is(err, errClockMoved) {
			return seen, err
		}
	}
}

// drama is a world and what happens in it, and perhaps what it was promised.
type drama struct {
	*wild.World
	next     func() (wild.Event, bool)
	met      func(oracle.Fate)
	promises *wild.Promises
}

func drawCase(dice []byte, at wild.Interfaces) drama {
	drawn := wild.NewCase(dice, at)
	return drama{World: drawn.World, next: drawn.Next, met: drawn.Met}
}

// closely is after how many packets of a case the counters are read, which takes
// longer than the packet itself. They are read once more at the end.
const closely = 8

// hear is one case.
func (c *court) hear(dice []byte, say func(string, ...any)) (census, error) {
	seen := make(census)
	drawn := c.draw(dice, c.at)
	if err := c.enter(drawn.World); err != nil {
		return seen, err
	}
	for packets := 1; ; packets++ {
		event, more := drawn.next()
		if !more {
			return seen, errors.Join(c.sameCounters(), c.noMore())
		}
		for _, change := range event.Changes {
			if say != nil {
				say("%s", change)
			}
			c.oracle.Change(change)
			if drawn.promises != nil {
				drawn.promises.Change(change)
			}
		}
		if err := c.apply(event.Changes...); err != nil {
			return seen, err
		}
		fate, err := c.try(event.Arrival)
		drawn.met(fate)
		if seen[fate.Outcome]++; drawn.promises != nil {
			err = errors.Join(err, drawn.promises.See(event.Arrival, fate))
		}
		if err == nil && (packets <= closely || say != nil) {
			err = c.sameCounters()
		}
		if say != nil {
			say("%d. at second %d in world %d by interface %d with room for %d, %d bytes: %s\n%x",
				packets, event.Second, binary.BigEndian.Uint16(append(dice[:min(2, len(dice)):2], 0, 0)), event.Interface, event.Headroom, len(event.Frame), fate.Outcome, event.Frame[:min(len(event.Frame), 160)])
		}
		if err != nil {
			return seen, err
		}
	}
}

// census counts what was seen.
type census map[oracle.Outcome]int

func (c census) packets() (n int) {
	for _, of := range c {
		n += of
	}
	return n
}

// uphold tells a case in which program and oracle differ as shortly as it can.
func (c *court) uphold(t testing.TB, dice []byte) census {
	t.Helper()
	seen, err := c.judge(dice, nil)
	if err == nil {
		return seen
	}
	t.Log(err)
	dice = c.shorten(dice, func(dice []byte) bool {
		_, err := c.judge(dice, nil)
		return err != nil
	})
	t.Logf("the case of %q:", dice)
	_, err = c.judge(dice, t.Logf)
	t.Fatal(err)
	return nil
}

// try lets one packet meet its fate on both sides.
func (c *court) try(a oracle.Arrival) (oracle.Fate, error) {
	a.Headroom, c.second = c.room(a), a.Second
	verdict, got, err := c.run(a)
	if err != nil {
		return oracle.Fate{}, err
	}
	fate := c.oracle.Receive(a)
	c.expect(fate)
	c.takeID(&fate, got)
	switch {
	case c.oracle.Unlawful != nil:
		return fate, fmt.Errorf("the choice of a source is against the law: %w", c.oracle.Unlawful)
	case verdict != uint32(fate.Verdict):
		return fate, fmt.Errorf("the program's verdict is %d, and the oracle says %s, %d", verdict, fate.Outcome, fate.Verdict)
	case fate.Verdict != oracle.Drop && !bytes.Equal(got, fate.Frame):
		return fate, fmt.Errorf("the program makes of it\n%x, and the oracle, for %s,\n%x", got, fate.Outcome, fate.Frame)
	case fate.Outcome == oracle.HoldFragment:
		if err := c.keeper.got(a, fate.Held); err != nil {
			return fate, err
		}
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
	court, random := newCourt(t), rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), seed)))
	dice, total, begun := make([]byte, 14000), make(census), time.Now()
	defer func() {
		t.Logf("%d packets in %s: %v", total.packets(), time.Since(begun).Round(time.Second), total)
	}()
	for most, long := patience(t); total.packets() < most && time.Since(begun) < long; {
		random.Read(dice)
		for outcome, n := range court.uphold(t, dice) {
			total[outcome] += n
		}
	}
	for _, outcome := range wild.Outcomes {
		if total[outcome] == 0 && court.canShow(outcome, total.packets()) {
			t.Errorf("the packets prove little: none was %s", outcome)
		}
	}
}

// canShow tells outcomes that this kernel's BPF_PROG_TEST_RUN can lead to, and that
// so many packets are enough for.
func (c *court) canShow(outcome oracle.Outcome, packets int) bool {
	switch outcome {
	case oracle.DropNATPorts, oracle.DropNATFull:
		return packets > 400_000
	case oracle.HoldFragment:
		return c.keeper.fragments != nil
	case oracle.DropNoHeadroom:
		return c.cramped == 0
	}
	return true
}

// patience is how many packets are drawn, and for how long at most. ORACLE_TIME
// says by hand for how long.
func patience(t *testing.T) (packets int, long time.Duration) {
	t.Helper()
	if given := os.Getenv("ORACLE_TIME"); given != "" {
		parsed, err := time.ParseDuration(given)
		if err != nil {
			t.Fatal(err)
		}
		return math.MaxInt, parsed
	}
	if testing.Short() {
		return 50_000, time.Minute
	}
	return 1_000_000, time.Minute
}

func FuzzPrivilegedOracle(f *testing.F) {
	court := newCourt(f)
	f.Fuzz(func(t *testing.T, dice []byte) {
		court.sit(t)
		court.uphold(t, dice)
	})
}
