package consul

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestTheSameSetIsOnlyConfirmed(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		first, _ := s.last()
		if !first.Changed || !first.Known() {
			s.Errorf("the first view: changed is %t, known is %t", first.Changed, first.Known())
		}
		s.pass(time.Second)
		s.consul.set("cba") // the same in another order, at a newer index
		s.pass(5 * time.Minute)
		for _, v := range s.views[1:] {
			if v.Changed || v.Reason != "" || !slices.Equal(v.Instances, first.Instances) || !v.At.After(first.At) {
				s.Errorf("a view that should only confirm: %+v", v)
			}
		}
	})
}

func TestAViewSaysWhenTheAnswerArrived(t *testing.T) {
	tell(t, "abcd", func(s *story) {
		s.watch()
		s.pass(10 * time.Second)
		change := time.Now()
		s.consul.say(reply(60, ""))
		s.consul.set("abcde")
		synctest.Wait()
		s.consul.set("")
		s.pass(time.Second)
		for _, v := range s.views {
			if v.Answered.IsZero() || v.Answered.After(v.At) {
				s.Errorf("answered at %s, confirmed at %s", v.Answered, v.At)
			}
		}
		if v := s.views[1]; !v.Answered.Equal(change) {
			s.Errorf("answered %s after the change", v.Answered.Sub(change))
		}
	})
}

func TestAReloadLeavesUnchangedWatchesAlone(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.source.Set(map[string]Query{"web": {Service: "web"}, "api": {Service: "api"}, "old": {Service: "old"}})
		s.pass(10 * time.Second)
		before := len(s.consul.questions())
		s.source.Set(map[string]Query{"web": {Service: "web"}, "api": {Service: "api", Tags: []string{"new"}}, "dns": {Service: "dns"}})
		s.pass(10 * time.Second)
		asks := map[string]int{}
		for _, q := range s.consul.questions()[before:] {
			asks[q.query]++
		}
		if asks["web"] != 0 || asks["old"] != 0 || asks["new.api"] != 2 || asks["dns"] != 2 {
			s.Errorf("questions after the reload are %v; want a read and a watch for new.api and dns alone", asks)
		}
		if got := s.source.Counts().Watches; got != 3 {
			s.Errorf("%d watches, want 3", got)
		}
		s.mu.Lock()
		seen := len(s.views)
		s.mu.Unlock()
		s.consul.set("abcd")
		s.pass(time.Second)
		told := map[string]int{}
		for _, v := range s.views[seen:] {
			told[v.Service]++
		}
		if len(told) != 3 || told["web"] != 1 || told["old"] != 0 {
			s.Errorf("views after a change are %v", told)
		}
	})
}

func TestAnAgentThatComesBackEmptyLosesNoMember(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.pass(time.Second)
		s.consul.breaks(errors.New("connection refused"))
		s.consul.set("")
		s.pass(10 * time.Second)
		s.consul.mu.Lock()
		s.consul.index, s.consul.entries, s.consul.broken = 14, nil, nil
		s.consul.mu.Unlock()
		s.pass(30 * time.Second)
		s.expect("while the agent has nothing", "abc", HeldHistory)
		s.consul.set("ab")
		s.pass(30 * time.Second)
		s.expect("when two have come back", "abc", HeldHistory)
		s.consul.set("abc")
		s.pass(time.Second)
		s.expect("when all have", "abc", "")
		s.consul.set("b")
		s.pass(time.Second)
		s.expect("a removal in the new history", "b", "")
	})
}

func TestANewClusterWithoutAMemberIsBelievedAfterAWhile(t *testing.T) {
	tell(t, "abc", func(s *story) {
		s.watch()
		s.pass(time.Second)
		s.consul.breaks(errors.New("connection refused"))
		s.consul.set("")
		s.pass(10 * time.Second)
		s.consul.mu.Lock()
		s.consul.index, s.consul.entries, s.consul.broken = 14, nil, nil
		s.consul.mu.Unlock()
		s.pass(keepFor - 5*time.Second)
		s.expect("shortly before", "abc", HeldHistory)
		s.pass(2 * time.Minute)
		s.expect("after that", "", "")
	})
}

func TestANameThatStopsResolvingKeepsItsAddress(t *testing.T) {
	tell(t, "", func(s *story) {
		s.consul.entries = []*api.ServiceEntry{entry(address("web.internal"))}
		var broken atomic.Bool
		var looked atomic.Int64
		s.dns = func(host string) ([]netip.Addr, error) {
			if looked.Add(1); broken.Load() {
				return nil, errors.New("no servers could be reached")
			}
			return []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.8"), netip.MustParseAddr("10.0.0.7")}, nil
		}
		s.source.Set(map[string]Query{"web": {Service: "web", Resolve: true}})
		synctest.Wait()
		if v, _ := s.last(); v.Instances[0].Addr != netip.MustParseAddr("10.0.0.7") {
			s.Errorf("address is %s, want the lowest", v.Instances[0].Addr)
		}
		broken.Store(true)
		s.pass(5 * time.Minute)
		v, _ := s.last()
		if v.Instances[0].Rejected != "" || v.Instances[0].Addr != netip.MustParseAddr("10.0.0.7") {
			s.Errorf("after DNS broke: %+v", v.Instances[0])
		}
		if looked.Load() < 4 {
			s.Errorf("the name was looked up %d times in five minutes", looked.Load())
		}
	})
}

func TestRunEndsWithItsContextAndLeavesNoWatchBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble fails if a goroutine stays
		consul := newFake("abc")
		s := NewSource(consul, func(View) {})
		s.Set(map[string]Query{"web": {Service: "web"}, "api": {Service: "api"}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(time.Second)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A random world of faults over a catalog that never loses a member: whatever
// arrives, no view lacks one, and a real removal afterwards is always applied.
func TestNoRunOfFaultsRemovesAMemberAndARealRemovalAlwaysApplies(t *testing.T) {
	for seed := range uint64(60) {
		tell(t, "abcd", func(s *story) {
			r := rand.New(rand.NewPCG(seed, 3))
			s.watch()
			for range 60 {
				switch r.IntN(8) {
				case 0:
					s.consul.say(status(403, "ACL not found"))
				case 1:
					s.consul.say(status(500, "No cluster leader"), status(429, ""))
				case 2:
					s.consul.say(func(Ask) (Reply, error) { return Reply{Index: 70, Filtered: true}, nil })
				case 3:
					s.consul.say(reply(uint64(r.IntN(2)), ""))
				case 4: // a streaming view that was reset
					s.consul.say(func(a Ask) (Reply, error) { return Reply{Index: a.Index}, nil })
				case 5: // empty with a good index, and the confirming read fails or does not
					s.consul.say(reply(1000, ""), []func(Ask) (Reply, error){nil, status(403, ""), status(500, "")}[r.IntN(3)])
				case 6:
					s.consul.set("abcd")
				}
				s.pass(time.Duration(r.IntN(30_000)) * time.Millisecond)
			}
			for _, v := range s.views {
				if v.Known() && letters(v.Instances) != "abcd" {
					s.Fatalf("seed %d: a view with %q (%v)", seed, letters(v.Instances), v.Err)
				}
			}
			s.consul.mu.Lock()
			s.consul.script, s.consul.index = nil, 2000
			s.consul.mu.Unlock()
			s.consul.set([]string{"", "a", "xyz"}[r.IntN(3)])
			s.pass(90 * time.Second)
			if v, _ := s.last(); letters(v.Instances) != idsOf(s.consul.entries) || v.Reason != "" {
				s.Fatalf("seed %d: after a real removal there is %q (%v)", seed, letters(v.Instances), v.Err)
			}
		})
	}
}

func idsOf(entries []*api.ServiceEntry) string {
	var s string
	for _, e := range entries {
		s += e.Service.ID
	}
	return s
}
