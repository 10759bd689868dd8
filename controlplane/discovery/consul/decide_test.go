package consul

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// group is instances named after the letters of names.
func group(names string) []Instance {
	var out []Instance
	for _, r := range names {
		out = append(out, Instance{Node: "n", ID: string(r), Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(r)}), Port: 80})
	}
	sortInstances(out)
	return out
}

func letters(list []Instance) string {
	var s string
	for _, in := range list {
		s += in.ID
	}
	return s
}

func holding(names string, index uint64) known {
	return known{loaded: true, confirmed: noon.Add(-time.Minute), members: group(names), index: index}
}

var (
	plain      = Ask{}
	consistent = Ask{Consistent: true}
	watching50 = Ask{Index: 50, Wait: time.Minute}
)

func TestDecide(t *testing.T) {
	empty := known{}
	abcd := holding("abcd", 50)
	for _, row := range []struct {
		promise string
		have    known
		got     answer
		want    action
		reason  Reason
	}{
		{"the first load with instances is the truth",
			empty, answer{asked: plain, index: 9, members: group("a")}, accept, ""},
		{"the first load without instances is confirmed first",
			empty, answer{asked: plain, index: 9}, confirm, ""},
		{"a consistent read may say that there are no instances",
			empty, answer{asked: consistent, index: 9}, accept, ""},
		{"an agent that has not heard from its servers is not believed",
			empty, answer{asked: plain, index: 1, members: group("a")}, hold, HeldEmpty},
		{"nor is it when it says so consistently",
			abcd, answer{asked: consistent, index: 1}, hold, HeldEmpty},
		{"an error changes nothing",
			abcd, answer{asked: watching50, err: errors.New("connection refused")}, hold, Unreachable},
		{"an answer shortened by access rules is an error, even with instances in it",
			abcd, answer{asked: plain, index: 51, members: group("abc"), filtered: true}, hold, Filtered},
		{"a consistent one too",
			abcd, answer{asked: consistent, index: 51, filtered: true}, hold, Filtered},
		{"a wait that ran out says nothing, whatever its body",
			abcd, answer{asked: watching50, index: 50}, ignore, ""},
		{"an index that went back in a watch is discarded with its body",
			abcd, answer{asked: watching50, index: 49, members: group("abcde")}, discard, HeldHistory},
		{"an index of 1 in a watch is discarded",
			abcd, answer{asked: watching50, index: 1, members: group("abcd")}, discard, HeldHistory},
		{"an index of 0 in a watch is discarded",
			abcd, answer{asked: watching50, index: 0}, discard, HeldHistory},
		{"one instance more is the truth",
			abcd, answer{asked: watching50, index: 51, members: group("abcde")}, accept, ""},
		{"half of the members fewer is the truth",
			abcd, answer{asked: watching50, index: 51, members: group("ab")}, accept, ""},
		{"more than half fewer is confirmed first",
			abcd, answer{asked: watching50, index: 51, members: group("a")}, confirm, ""},
		{"all members replaced by as many others is confirmed first",
			abcd, answer{asked: watching50, index: 51, members: group("wxyz")}, confirm, ""},
		{"the only member gone is confirmed first",
			holding("a", 50), answer{asked: watching50, index: 51}, confirm, ""},
		{"a shrunken audit is confirmed first",
			abcd, answer{asked: plain, index: 51}, confirm, ""},
		{"a consistent read may remove everything",
			abcd, answer{asked: consistent, index: 51}, accept, ""},
		{"none after none needs no confirming",
			holding("", 50), answer{asked: plain, index: 51}, accept, ""},
		{"without a token where all is denied, nothing is ever gone",
			abcd, answer{asked: consistent, index: 51, members: group("abc"), anonymous: true}, hold, Filtered},
		{"nor is there ever nothing",
			empty, answer{asked: consistent, index: 51, anonymous: true}, hold, Filtered},
		{"but what an anonymous reader sees is there",
			abcd, answer{asked: plain, index: 51, members: group("abcde"), anonymous: true}, accept, ""},
	} {
		t.Run(row.promise, func(t *testing.T) {
			row.got.at = noon
			got := decide(row.have, row.got)
			if got.action != row.want {
				t.Fatalf("action is %d, want %d (%v)", got.action, row.want, got.err)
			}
			if row.reason != "" && reasonOf(got.err) != row.reason {
				t.Errorf("reason is %q, want %q", reasonOf(got.err), row.reason)
			}
			if row.reason == "" && got.err != nil {
				t.Errorf("error is %v, want none", got.err)
			}
		})
	}
}

func TestAdopt(t *testing.T) {
	for _, row := range []struct {
		promise    string
		have       known
		index      uint64
		got        string
		after      time.Duration
		want       string
		keeps      int
		confirming bool
	}{
		{"a newer answer replaces the set", holding("abc", 50), 51, "bd", 0, "bd", 0, true},
		{"an older one only adds to it", holding("abc", 50), 14, "bd", 0, "abcd", 2, false},
		{"one of the same age cannot have removed anything", holding("abc", 50), 50, "b", 0, "abc", 2, false},
		{"an older one with every member is taken as it is", holding("abc", 50), 14, "abc", 0, "abc", 0, true},
		{"what is missing from an older answer is kept", holding("abc", 50), 14, "", keepFor - 1, "abc", 3, false},
	} {
		t.Run(row.promise, func(t *testing.T) {
			next := row.have.adopt(answer{index: row.index, members: group(row.got), at: noon})
			if got := letters(next.members); got != row.want {
				t.Errorf("members are %q, want %q", got, row.want)
			}
			if len(next.kept) != row.keeps || (next.doubt() != nil) != (row.keeps > 0) {
				t.Errorf("%d are kept (%v), want %d", len(next.kept), next.doubt(), row.keeps)
			}
			if next.confirmed.Equal(noon) != row.confirming {
				t.Errorf("confirmed at %v", next.confirmed)
			}
		})
	}
}

func TestMembersMissingFromANewHistoryAreKeptForAWhileAndThenConfirmedGone(t *testing.T) {
	have := holding("abc", 50)
	have = have.adopt(answer{asked: consistent, index: 14, at: noon})

	later := answer{asked: plain, index: 15, members: group("a"), at: noon.Add(time.Minute)}
	if got := decide(have, later); got.action != accept {
		t.Fatalf("one that comes back: action is %d (%v)", got.action, got.err)
	}
	have = have.adopt(later)
	if got := letters(have.members); got != "abc" || len(have.kept) != 2 {
		t.Fatalf("members are %q, %d kept; want abc with b and c kept", got, len(have.kept))
	}

	gone := answer{asked: plain, index: 16, at: noon.Add(2 * time.Minute)}
	if got := decide(have, gone); got.action != confirm {
		t.Fatalf("one that came back and goes again: action is %d, want to confirm", got.action)
	}

	over := answer{asked: plain, index: 15, members: group("a"), at: noon.Add(keepFor + time.Minute)}
	if got := decide(have, over); got.action != confirm {
		t.Fatalf("when the time is over: action is %d, want to confirm", got.action)
	}
	over.asked = consistent
	if have = have.adopt(over); letters(have.members) != "a" || have.doubt() != nil {
		t.Errorf("members are %q (%v), want a alone", letters(have.members), have.doubt())
	}
}

// What decide lets through, whatever arrives in whatever order: an unconfirmed
// answer never takes more than half of the members, one that is empty none; and
// a newer consistent answer is always what is known afterwards.
func TestNoSequenceOfDoubtfulAnswersRemovesAMember(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		have, at := holding("abcd", 50), noon
		for step := range 40 {
			at = at.Add(time.Duration(r.IntN(20)) * time.Second)
			got := doubtful(r, have, at)
			what := decide(have, got)
			if what.action == accept {
				next := have.adopt(got)
				if !contains(next.members, have.members) {
					t.Fatalf("seed %d, step %d: %s became %s by %+v", seed, step, letters(have.members), letters(next.members), got)
				}
				have = next
			}
			if at.Sub(noon) > keepFor {
				break
			}
		}
		newer := answer{asked: consistent, index: have.index + 1, members: group("z"), at: at.Add(keepFor)}
		if what := decide(have, newer); what.action != accept {
			t.Fatalf("seed %d: a confirmed removal is not accepted: %v", seed, what.err)
		}
		if got := letters(have.adopt(newer).members); got != "z" {
			t.Fatalf("seed %d: after a confirmed removal the members are %q, want z", seed, got)
		}
	}
}

// doubtful is an answer that proves no removal: an error, a filtered one, an empty one
// of any age that is not consistent, or one of the past.
func doubtful(r *rand.Rand, have known, at time.Time) answer {
	got := answer{asked: []Ask{plain, watching50, {Index: have.index}}[r.IntN(3)], index: uint64(r.IntN(120)), at: at}
	switch r.IntN(5) {
	case 0:
		got.err = fmt.Errorf("attempt: %w", errors.New("reset by peer"))
	case 1:
		got.filtered, got.members = true, group("a")
	case 2:
		got.asked, got.index = consistent, min(have.index, got.index)
	case 3:
		got.members = slices.Clone(have.members)
	}
	return got
}

func contains(all, some []Instance) bool {
	there := keys(all)
	for _, m := range some {
		if !there[m.key()] {
			return false
		}
	}
	return true
}
