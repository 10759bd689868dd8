package health

import (
	"testing"
	"time"
)

var everySecond = Check{Kind: HTTP, Interval: time.Second, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3}

func wantChange(t *testing.T, got []change, at time.Duration, state State, reason string) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("heard %v, want one change to %s", got, state)
	}
	if c := got[0]; c.at != at || c.State != state || c.Reason != reason {
		t.Fatalf("at %s heard %s (%s), want %s (%s) at %s", c.at, c.State, c.Reason, state, reason, at)
	}
}

func TestFirstProbeIsMadeAtOnceAndDecides(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), ok)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(0)
		wantChange(t, r.heard(), 0, Well, "status 200")
	})
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), refusing)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(0)
		wantChange(t, r.heard(), 0, Ill, "connection refused")
	})
}

func TestBackendIsIllAfterFallFailuresAndWellAfterRiseSuccesses(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), ok)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(10 * time.Millisecond)
		r.heard()

		r.become(backend(1), broken) // probes at 1, 2 and 3 s
		r.pass(2900 * time.Millisecond)
		if got := r.heard(); len(got) != 0 {
			t.Fatalf("two failures were enough: %v", got)
		}
		r.pass(200 * time.Millisecond)
		wantChange(t, r.heard(), 3*time.Second, Ill, "status 503, want 200-399")
		if v := r.Verdict(backend(1)); v.DetectedIn() != 2*time.Second {
			t.Errorf("the first failing probe began %s before the verdict, want 2s", v.DetectedIn())
		}

		r.become(backend(1), ok) // probes at 4 and 5 s
		r.pass(1700 * time.Millisecond)
		if got := r.heard(); len(got) != 0 {
			t.Fatalf("one success was enough: %v", got)
		}
		r.pass(300 * time.Millisecond)
		wantChange(t, r.heard(), 5*time.Second, Well, "status 200")
	})
}

func TestHungBackendsAreTimedOutAtTheStageWhereTheyHang(t *testing.T) {
	for _, row := range []struct {
		promise string
		is      behaviour
		reason  string
	}{
		{"no answer to the SYN", hanging, "no connection within 500ms"},
		{"a connection and then silence", silent, "no answer within 500ms"},
		{"headers and then silence", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", "no end of the answer (status 200) within 500ms"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			inBubble(t, 0, func(r *rig) {
				r.become(backend(1), row.is)
				r.Set(map[Backend]Check{backend(1): everySecond})
				r.pass(600 * time.Millisecond)
				wantChange(t, r.heard(), 500*time.Millisecond, Ill, row.reason)
			})
		})
	}
}

func TestNewReasonForTheSameStateIsTold(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), refusing)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(100 * time.Millisecond)
		r.heard()
		r.become(backend(1), broken)
		r.pass(time.Second)
		wantChange(t, r.heard(), time.Second, Ill, "status 503, want 200-399")
		if v := r.Verdict(backend(1)); v.Since.Sub(r.start) != 0 {
			t.Errorf("ill since %s after the start, want 0: only the reason is new", v.Since.Sub(r.start))
		}
	})
}

func TestWhatThisHostLacksIsNotHeldAgainstTheBackend(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), ok)
		r.become(backend(2), starving)
		r.Set(map[Backend]Check{backend(1): everySecond, backend(2): everySecond})
		r.pass(100 * time.Millisecond)
		r.heard()
		r.become(backend(1), starving)
		r.pass(time.Minute)
		if got := r.heard(); len(got) != 0 {
			t.Fatalf("heard %v while this host had no descriptors", got)
		}
		if v := r.Verdict(backend(2)); v.State != Unknown || v.Reason != "this host cannot ask: too many open files" {
			t.Errorf("a backend that was never asked is %s (%s)", v.State, v.Reason)
		}
	})
}

func TestReloadKeepsUnchangedProbesAndTheirHistory(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), ok)
		r.become(backend(2), ok)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(100 * time.Millisecond)
		r.become(backend(1), refusing)
		r.pass(2 * time.Second) // two failures, at 1 and 2 s
		r.heard()
		r.Set(map[Backend]Check{backend(1): everySecond, backend(2): everySecond})
		r.pass(time.Second) // the third, at 3 s
		for _, c := range r.heard() {
			if c.backend == backend(1) && c.at == 3*time.Second && c.State == Ill {
				return
			}
		}
		t.Errorf("the two failures before the reload were forgotten; probes at %v", r.dialled(backend(1)))
	})
}

func TestChangedCheckStartsAtOnceAndKeepsTheVerdictUntilContradicted(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), ok)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(100 * time.Millisecond)
		r.heard()
		other := everySecond
		other.ExpectStatus = []StatusRange{{204, 204}}
		r.Set(map[Backend]Check{backend(1): other})
		r.pass(1900 * time.Millisecond) // probes at 0.1 and 1.1 s
		if got := r.heard(); len(got) != 0 || r.Verdict(backend(1)).State != Well {
			t.Fatalf("the verdict was lost with the reload: %v", got)
		}
		r.pass(time.Second) // 2.1 s
		wantChange(t, r.heard(), 2100*time.Millisecond, Ill, "status 200, want 204")
	})
}

func TestRemovedBackendIsProbedNoMoreAndForgotten(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		r.become(backend(1), hanging)
		r.Set(map[Backend]Check{backend(1): everySecond})
		r.pass(100 * time.Millisecond)
		r.Set(nil) // in the middle of a probe
		r.pass(time.Minute)
		if got := r.heard(); len(got) != 0 {
			t.Errorf("heard %v of a backend that was removed", got)
		}
		if n := len(r.dialled(backend(1))); n != 1 {
			t.Errorf("probed %d times, want 1", n)
		}
		if v := r.Verdict(backend(1)); v.State != Unknown {
			t.Errorf("a removed backend is %s", v.State)
		}
	})
}

func TestConcurrencyIsBoundedAndEveryBackendGetsItsTurn(t *testing.T) {
	inBubble(t, 10, func(r *rig) {
		checks := map[Backend]Check{}
		for n := range 90 {
			r.become(backend(n), hanging)
			checks[backend(n)] = everySecond
		}
		r.Set(checks)
		r.pass(9 * 500 * time.Millisecond)
		if r.max > 10 {
			t.Errorf("%d probes under way at once, want at most 10", r.max)
		}
		for b := range checks {
			if r.Verdict(b).State != Ill {
				t.Errorf("%s had no probe", b)
			}
		}
	})
}

func TestThousandsOfFirstProbesAreSpread(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		checks := map[Backend]Check{}
		for n := range 3000 {
			r.become(backend(n), ok)
			checks[backend(n)] = everySecond
		}
		r.Set(checks)
		r.pass(300 * time.Millisecond)
		late := 0
		for b := range checks {
			at := r.dialled(b)
			if len(at) != 1 {
				t.Fatalf("%s was probed %d times within 300 ms, want once", b, len(at))
			}
			if at[0] > 150*time.Millisecond {
				late++
			}
		}
		if late < 1200 || late > 1800 {
			t.Errorf("%d of 3000 first probes lie in the second half of 300 ms, want about half", late)
		}
	})
}

func TestPausesStayWithinTheJitter(t *testing.T) {
	inBubble(t, 0, func(r *rig) {
		jittered := everySecond
		jittered.Jitter = 0.2
		r.become(backend(1), ok)
		r.Set(map[Backend]Check{backend(1): jittered})
		r.pass(100 * time.Second)
		at := r.dialled(backend(1))
		distinct := map[time.Duration]bool{}
		for i := 1; i < len(at); i++ {
			pause := at[i] - at[i-1]
			distinct[pause] = true
			if pause < 800*time.Millisecond || pause > 1200*time.Millisecond {
				t.Errorf("a pause of %s, want 0.8 to 1.2 s", pause)
			}
		}
		if len(distinct) < 50 {
			t.Errorf("%d distinct pauses in %d probes", len(distinct), len(at))
		}
	})
}
