package kernel

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// newCourtOfLives hears histories of the table of nat, and holds them against what is
// promised of connections, too, by nothing but what passes.
func newCourtOfLives(t testing.TB) *court {
	t.Helper()
	c := newCourt(t)
	c.shorten = wild.ShortenLives
	c.draw = func(dice []byte, at wild.Interfaces) drama {
		lives := wild.NewLives(dice, at)
		c.promises = wild.NewPromises()
		return drama{World: lives.World, next: lives.Next, met: lives.Met, promises: c.promises}
	}
	return c
}

func TestPrivilegedConnectionsLiveAsTheModelSaysAndAsPromised(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("SEED"); given != "" {
		parsed, err := strconv.ParseUint(given, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = parsed
	}
	t.Logf("repeat with SEED=%d", seed)
	court, random := newCourtOfLives(t), rand.NewChaCha8([32]byte(binary.BigEndian.AppendUint64(make([]byte, 24), seed)))
	dice, total, begun := make([]byte, 2+8*600), make(census), time.Now()
	kept := wild.NewPromises().Kept
	most, long := patience(t)
	for most, long = most/6, long/6; total.packets() < most && time.Since(begun) < long; {
		random.Read(dice)
		for outcome, n := range court.uphold(t, dice) {
			total[outcome] += n
		}
		kept.Established += court.promises.Kept.Established
		kept.Closed += court.promises.Kept.Closed
		kept.Reused += court.promises.Kept.Reused
		kept.PushedOut += court.promises.Kept.PushedOut
	}
	t.Logf("%d packets in %s: %v, %+v", total.packets(), time.Since(begun).Round(time.Second), total, kept)
	if total.packets() < 50_000 {
		return // on a machine that had no time for more
	}
	for _, outcome := range []oracle.Outcome{oracle.Forward, oracle.ReplyBackend, oracle.DropNoConnection, oracle.DropNATPorts, oracle.PassNotVIP} {
		if total[outcome] == 0 {
			t.Errorf("the lives prove little: nothing was %s", outcome)
		}
	}
	if kept.Established == 0 || kept.Closed == 0 || kept.Reused == 0 || kept.PushedOut == 0 {
		t.Errorf("the lives prove little: %+v", kept)
	}
}

func FuzzPrivilegedLives(f *testing.F) {
	court := newCourtOfLives(f)
	f.Fuzz(func(t *testing.T, dice []byte) {
		court.sit(t)
		court.uphold(t, dice)
	})
}
