package consul

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestW7EveryMinuteOrSoThereIsAPlainRead(t *testing.T) {
	for name, busy := range map[string]bool{"quiet": false, "busy": true} {
		t.Run(name, func(t *testing.T) {
			tell(t, "abc", func(s *story) {
				s.watch()
				for i := range 1800 {
					if s.pass(time.Second); busy {
						s.consul.set("abc" + string(rune('d'+i%10)))
					}
				}
				var plains []time.Duration
				for _, q := range s.consul.questions() {
					if q.Index == 0 {
						plains = append(plains, q.at)
					}
				}
				for i := range plains[1:] {
					if pause := plains[i+1] - plains[i]; pause < 48*time.Second || pause > 74*time.Second {
						s.Errorf("%s between plain reads", pause)
					}
				}
				if len(plains) < 24 {
					s.Errorf("%d plain reads in half an hour", len(plains))
				}
			})
		})
	}
}

func TestW7TheAuditFindsWhatAStreamNeverSaid(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.consul.mu.Lock()
		s.consul.index, s.consul.entries = 51, entriesOf("abcd") // and nobody is woken
		s.consul.mu.Unlock()
		s.pass(75 * time.Second)
		s.expect("after an audit", "abcd", "")
	})
}

func TestW8WaitsAreRandomAndBounded(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.pass(20 * time.Minute)
		waits := map[time.Duration]bool{}
		for _, q := range s.consul.questions() {
			if q.Index == 0 {
				if q.limit != 15*time.Second {
					s.Errorf("a plain read is given up after %s", q.limit)
				}
				continue
			}
			waits[q.Wait] = true
			if q.Wait < 55*time.Second || q.Wait > 65*time.Second {
				s.Errorf("a wait of %s", q.Wait)
			}
			if want := q.Wait*17/16 + 15*time.Second; (q.limit - want).Abs() > time.Millisecond {
				s.Errorf("a wait of %s is given up after %s, want %s", q.Wait, q.limit, want)
			}
		}
		if len(waits) < 10 {
			s.Errorf("only %d different waits", len(waits))
		}
	})
}

func TestW8AConnectionThatDiedSilentlyIsGivenUp(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.consul.die()
		s.pass(time.Minute)
		s.expect("before the deadline", "abc", "")
		s.pass(30 * time.Second)
		s.expect("after the deadline", "abc", Unreachable)
	})
}

func TestW9TheFirstChangeIsActedOnAtOnceAndQuestionsAre100MillisecondsApart(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.pass(10 * time.Second)
		s.consul.set("abcd")
		synctest.Wait()
		s.expect("at once", "abcd", "")
		s.consul.set("abcde")
		synctest.Wait()
		before := len(s.consul.questions())
		for range 1000 { // one a millisecond
			s.pass(time.Millisecond)
			s.consul.set("abcdef")
		}
		if n := len(s.consul.questions()) - before; n < 8 || n > 11 {
			s.Errorf("%d questions in a second of a thousand changes, want about 10", n)
		}
		asks := s.consul.questions()
		for i := range asks[1:] {
			if pause := asks[i+1].at - asks[i].at; pause < 100*time.Millisecond {
				s.Errorf("questions %s apart", pause)
			}
		}
	})
}
