package drops

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

func everything(dataplane.Dropped) bool { return true }

func noBackend(d dataplane.Dropped) bool { return d.Outcome == "DROP_NO_BACKEND" }

// running is a hub that runs for the length of a test, in virtual time.
func running(t *testing.T, story func(h *Hub, source *fake.Drops)) {
	synctest.Test(t, func(t *testing.T) {
		source := fake.NewDrops()
		h := New(source)
		ctx, end := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- h.Run(ctx) }()
		story(h, source)
		end()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if source.Watched() {
			t.Error("drops are watched when the daemon is gone")
		}
	})
}

func TestDropsAreWatchedWhileSomebodyListens(t *testing.T) {
	running(t, func(h *Hub, source *fake.Drops) {
		watched := func(want bool, when string) {
			t.Helper()
			time.Sleep(2 * renewEvery)
			synctest.Wait()
			if source.Watched() != want {
				t.Errorf("%s, watched is %v", when, !want)
			}
		}
		watched(false, "before anybody listens")
		one, other := h.Listen(everything), h.Listen(everything)
		watched(true, "when two listen")
		one.Close()
		watched(true, "when one has gone")
		other.Close()
		watched(false, "when both have")
		again := h.Listen(everything)
		watched(true, "when one comes back")
		again.Close()
	})
}

func TestEachListenerHearsWhatItWants(t *testing.T) {
	running(t, func(h *Hub, source *fake.Drops) {
		all, some := h.Listen(everything), h.Listen(noBackend)
		synctest.Wait()
		for _, outcome := range []string{"DROP_BAD_FLAGS", "DROP_NO_BACKEND"} {
			source.Drop(dataplane.Dropped{Outcome: outcome})
		}
		synctest.Wait()
		if len(all.C) != 2 || len(some.C) != 1 || (<-some.C).Outcome != "DROP_NO_BACKEND" {
			t.Errorf("one heard %d and the other %d drops", len(all.C), len(some.C))
		}
	})
}

func TestWhoIsSlowMissesDropsAndHearsHowMany(t *testing.T) {
	running(t, func(h *Hub, source *fake.Drops) {
		slow, quick := h.Listen(everything), h.Listen(everything)
		synctest.Wait()
		for range backlog + 7 {
			source.Drop(dataplane.Dropped{})
			<-quick.C
		}
		synctest.Wait()
		if missed := slow.Missed(); missed != 7 || len(slow.C) != backlog {
			t.Errorf("the slow one missed %d and has %d to hear", missed, len(slow.C))
		}
		if missed := quick.Missed(); missed != 0 {
			t.Errorf("the quick one missed %d", missed)
		}
	})
}

func TestWhatTheDataPlaneDoesNotTellIsMissed(t *testing.T) {
	running(t, func(h *Hub, source *fake.Drops) {
		source.Leave(1000) // before anybody listened
		l := h.Listen(noBackend)
		synctest.Wait()
		source.Leave(40)
		time.Sleep(renewEvery)
		synctest.Wait()
		source.Leave(2)
		time.Sleep(renewEvery)
		synctest.Wait()
		if first, second := l.Missed(), l.Missed(); first != 42 || second != 0 {
			t.Errorf("missed were %d and then %d", first, second)
		}
	})
}
