package consul

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func reply(index uint64, names string) func(Ask) (Reply, error) {
	return func(Ask) (Reply, error) { return Reply{Index: index, Entries: entriesOf(names)}, nil }
}

func status(code int, body string) func(Ask) (Reply, error) {
	return func(Ask) (Reply, error) { return Reply{}, api.StatusError{Code: code, Body: body} }
}

func TestW1TheFirstReadAndEveryReadAfterAnErrorIsPlain(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.consul.say(status(500, "No cluster leader"))
		s.watch()
		v, _ := s.last()
		if v.Known() || v.Reason != NoLeader {
			s.Fatalf("before the first answer: known is %t, reason %q", v.Known(), v.Reason)
		}
		s.pass(time.Second)
		s.expect("after the first answer", "abc", "")
		s.consul.say(status(500, "rpc error"), nil)
		s.consul.set("abcd")
		s.pass(time.Second)
		asks := s.consul.questions()
		for i, want := range []uint64{0, 0, 50, 51, 0, 51} {
			if i >= len(asks) || asks[i].Index != want {
				s.Fatalf("question %d of %+v has not index %d", i, asks, want)
			}
		}
	})
}

func TestW2AWaitWithoutNewsChangesNothingAndIsFollowedByAPlainRead(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.pass(66 * time.Second) // the fake answers with the same index and no body
		s.expect("after a wait", "abc", "")
		asks := s.consul.questions()
		if len(asks) < 3 || asks[1].Index != 50 || asks[2].Index != 0 {
			s.Errorf("questions are %+v, want a plain read after the watch", asks)
		}
	})
}

func TestW3AnIndexThatWentBackIsDiscardedWithItsBody(t *testing.T) {
	for _, index := range []uint64{0, 1, 49} {
		tell(t, "abc", func(s *story) {
			s.consul.say(nil, reply(index, "xyz"))
			s.watch()
			s.pass(time.Second)
			s.expect("after the discard", "abc", "")
			if asks := s.consul.questions(); asks[2].Index != 0 {
				s.Errorf("question after the discard has index %d", asks[2].Index)
			}
		})
	}
}

func TestW3AnAgentThatForgetsAgainAndAgainIsNotPressed(t *testing.T) {
	tell(t, "abc", func(s *story) {
		for range 200 {
			s.consul.say(nil, reply(1, ""))
		}
		s.watch()
		s.pass(time.Minute)
		s.expect("all along", "abc", "")
		if n := len(s.consul.questions()); n > 60 {
			s.Errorf("%d questions in a minute", n)
		}
	})
}

func TestW4AnErrorHoldsTheViewAndIsRetriedForEver(t *testing.T) {
	for reason, err := range map[Reason]error{
		Forbidden:   api.StatusError{Code: http.StatusForbidden, Body: "ACL not found"},
		TooMany:     api.StatusError{Code: http.StatusTooManyRequests},
		NoLeader:    api.StatusError{Code: 500, Body: "No cluster leader"},
		BadQuery:    api.StatusError{Code: 500, Body: "Failed to create boolean expression evaluator"},
		Unreachable: errors.New("connection refused"),
	} {
		tell(t, "abc", func(s *story) {
			s.watch()
			s.consul.breaks(err)
			s.consul.set("")
			s.pass(time.Hour)
			s.expect("after an hour of errors", "abc", reason)
			v, n := s.last()
			if n != 2 {
				s.Errorf("%d views, want one for the set and one for the error", n)
			}
			if age := time.Since(v.At); age < time.Hour {
				s.Errorf("the view is %s old, want an hour", age)
			}
			s.consul.breaks(nil)
			s.consul.set("ab")
			s.pass(16 * time.Second)
			s.expect("when it works again", "ab", "")
			if got := s.source.Counts(); got.Requests[reason] == 0 || got.Holds[reason] == 0 || got.Watches != 1 {
				s.Errorf("counts are %+v", got)
			}
		})
	}
}

func TestW4RetriesStartAt100MillisecondsAndReachTenSeconds(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.consul.breaks(errors.New("connection refused"))
		s.watch()
		s.pass(5 * time.Minute)
		asks := s.consul.questions()
		for i := range asks[:len(asks)-1] {
			pause := asks[i+1].at - asks[i].at
			usual := min(10*time.Second, 100*time.Millisecond<<i)
			if i > 10 {
				usual = 10 * time.Second
			}
			if pause < min(usual/2, 100*time.Millisecond) || pause > usual*3/2 {
				s.Errorf("pause %d is %s, want %s ± 50 %%", i, pause, usual)
			}
		}
	})
}

func TestW5AShortenedAnswerIsAnError(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		hidden := func(Ask) (Reply, error) { return Reply{Index: 60, Entries: entriesOf("a"), Filtered: true}, nil }
		s.consul.say(hidden, hidden)
		s.pass(120 * time.Millisecond)
		s.expect("while rules hide some", "abc", Filtered)
		s.pass(time.Second)
		s.expect("when they no longer do", "abc", "")
	})
}

func TestW6AShrunkenSetIsConfirmedByAConsistentRead(t *testing.T) {
	tell(t, "abcd", func(s *story) {
		s.watch()
		s.pass(time.Second)
		s.consul.set("a")
		s.pass(100 * time.Millisecond)
		s.expect("after the confirming read", "a", "")
		asks := s.consul.questions()
		if last := asks[2]; !last.Consistent || last.Index != 0 {
			s.Errorf("the confirming question is %+v", last)
		}
		s.consul.set("")
		s.pass(time.Second)
		s.expect("when all are gone", "", "")
	})
}

func TestW6AShrunkenSetThatCannotBeConfirmedIsHeld(t *testing.T) {
	for name, second := range map[string]func(Ask) (Reply, error){
		"an error":                      status(403, "ACL not found"),
		"a filtered answer":             func(Ask) (Reply, error) { return Reply{Index: 60, Filtered: true}, nil },
		"an agent without data":         reply(1, ""),
		"an anonymous one under denial": func(Ask) (Reply, error) { return Reply{Index: 60, Anonymous: true}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			tell(t, "abcd", func(s *story) {
				s.watch()
				s.pass(time.Second)
				s.consul.say(reply(60, ""), second)
				s.pass(70 * time.Second)
				for _, v := range s.views {
					if letters(v.Instances) != "abcd" {
						s.Errorf("a view with %q", letters(v.Instances))
					}
				}
				if v := s.views[1]; v.Reason == "" || !strings.Contains(v.Err.Error(), "confirming that instances are gone") {
					s.Errorf("the view after it says %v", v.Err)
				}
			})
		})
	}
}

func TestW6AMissingSetThatTheConfirmingReadFindsIsNoChange(t *testing.T) {
	tell(t, "abcd", func(s *story) {
		s.watch()
		s.consul.say(reply(60, ""), nil)
		s.pass(70 * time.Second)
		for _, v := range s.views[1:] {
			if v.Changed || letters(v.Instances) != "abcd" {
				s.Errorf("a view with %q, changed is %t", letters(v.Instances), v.Changed)
			}
		}
	})
}
