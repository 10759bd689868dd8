package fragments

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// stage is a holder that runs, in virtual time.
type stage struct {
	*fake.Fragments
	t   *testing.T
	log strings.Builder
}

// held runs a story about a holder, and ends the holder after it.
func held(t *testing.T, story func(*stage)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{Fragments: fake.NewFragments(), t: t}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		holder := New(s.Fragments, slog.New(slog.NewTextHandler(&s.log, nil)))
		go func() { ended <- holder.Run(ctx) }()
		story(s)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func (s *stage) come(key string, number int) bool {
	s.t.Helper()
	soon := make(chan struct{})
	timer := time.AfterFunc(time.Microsecond, func() { close(soon) })
	defer timer.Stop()
	return s.Come(dataplane.Fragment{Key: key, Frame: fmt.Append(nil, number)}, soon)
}

// after waits, and wants fragments to have been sent since it was last asked.
func (s *stage) after(d time.Duration, want ...string) {
	s.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	var sent []string
	for _, f := range s.Sent() {
		sent = append(sent, f.Key+string(f.Frame))
	}
	if fmt.Sprint(sent) != fmt.Sprint(want) {
		s.t.Errorf("%s later %v were sent, want %v", d, sent, want)
	}
}

func TestFragmentsAreSentInTheirOrderSoonAfterTheirFirst(t *testing.T) {
	held(t, func(s *stage) {
		for number := 3; number > 0; number-- {
			s.come("a", number)
		}
		s.after(20 * time.Millisecond)
		s.First("a")
		s.after(20*time.Millisecond, "a3", "a2", "a1")
	})
}

func TestFragmentsLeaveAtOnceIfTheirFirstCameMeanwhile(t *testing.T) {
	held(t, func(s *stage) {
		s.First("a")
		s.come("a", 1)
		s.after(2*time.Millisecond, "a1")
	})
}

func TestAPacketDoesNotWaitForAnother(t *testing.T) {
	held(t, func(s *stage) {
		s.come("a", 1)
		s.come("b", 2)
		s.First("b")
		s.after(5*time.Millisecond, "b2")
		s.after(190 * time.Millisecond)
		s.after(10*time.Millisecond, "a1")
	})
}

func TestAFragmentWhoseFirstNeverComesLeavesAfterItsTime(t *testing.T) {
	held(t, func(s *stage) {
		s.come("a", 1)
		s.after(199 * time.Millisecond)
		s.come("a", 2)
		s.after(2*time.Millisecond, "a1", "a2")
		s.come("a", 3) // waits anew
		s.after(199 * time.Millisecond)
		s.after(2*time.Millisecond, "a3")
	})
}

func TestNoMoreFragmentsAreReadThanCanBeHeld(t *testing.T) {
	held(t, func(s *stage) {
		taken := 0
		for s.come(fmt.Sprint("packet ", taken, " "), 1) {
			taken++
		}
		if taken < most || taken > most+1 { // one waits in the reader's hand
			t.Errorf("%d fragments were taken, and %d may be held", taken, most)
		}
		time.Sleep(patience)
		synctest.Wait()
		s.Sent()
		if !s.come("after", 1) {
			t.Error("none is taken once others have left")
		}
	})
}

func TestWhatIsHeldLeavesWithTheHolder(t *testing.T) {
	source := fake.NewFragments()
	synctest.Test(t, func(t *testing.T) {
		source = fake.NewFragments()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- New(source, slog.New(slog.DiscardHandler)).Run(ctx) }()
		source.Come(dataplane.Fragment{Key: "a"}, nil)
		synctest.Wait()
		stop()
		if err := <-ended; err != nil || len(source.Sent()) != 1 {
			t.Errorf("it was not sent, and %v", err)
		}
	})
}

func TestThatFragmentsAreLostIsSaidOnceAMinute(t *testing.T) {
	held(t, func(s *stage) {
		s.Fail(errors.New("no such device"))
		for range 3 {
			s.come("a", 1)
			s.after(210 * time.Millisecond)
		}
		if said := strings.Count(s.log.String(), "no such device"); said != 1 {
			t.Errorf("it was said %d times:\n%s", said, s.log.String())
		}
		time.Sleep(complainEvery)
		s.come("a", 1)
		s.after(210 * time.Millisecond)
		if said := strings.Count(s.log.String(), "no such device"); said != 2 {
			t.Errorf("a minute later it was said %d times", said)
		}
	})
}
