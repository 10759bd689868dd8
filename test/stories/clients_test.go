package stories

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/traffic"
)

// clients are requests that go on while something happens.
type clients struct {
	s    *stage
	stop context.CancelFunc
	over []chan traffic.Answers
}

// load is for a VIP that is written "http 192.0.2.1:80".
func (s *stage) load(vip string) traffic.Load {
	s.t.Helper()
	kind, to, _ := strings.Cut(vip, " ")
	address, err := netip.ParseAddrPort(to)
	s.must(err)
	return traffic.Load{From: s.Lab.Client, Kind: traffic.Kind(kind), To: address}
}

// ask sends a number of requests, several at a time, and waits for the answers.
// It stops early where so few are answered that it takes long.
func (s *stage) ask(vip string, requests int) traffic.Answers {
	s.t.Helper()
	load := s.load(vip)
	load.Requests, load.Workers = requests, 8
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return load.Run(ctx)
}

// keepAsking lets clients use VIPs until they are stopped. They are well under
// way on return.
func (s *stage) keepAsking(vips ...string) *clients {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	c := &clients{s: s, stop: stop}
	for _, vip := range vips {
		load := s.load(vip)
		load.Workers, load.Pause = 2, 5*time.Millisecond
		over := make(chan traffic.Answers, 1)
		c.over = append(c.over, over)
		go func() { over <- load.Run(ctx) }()
	}
	for _, vip := range vips {
		s.allAnswered(vip, s.ask(vip, 50))
	}
	return c
}

// finish lets the clients go on for a moment, stops them and returns all of
// their requests.
func (c *clients) finish() traffic.Answers {
	var answers traffic.Answers
	time.AfterFunc(300*time.Millisecond, c.stop)
	for _, over := range c.over {
		answers = append(answers, <-over...)
	}
	answers.Sort()
	return answers
}

// allAnswered fails the test if a request got no answer.
func (s *stage) allAnswered(what string, answers traffic.Answers) {
	s.t.Helper()
	if failed := answers.Failed(); len(failed) > 0 {
		s.t.Errorf("%s: %d of %d requests got no answer, the first: %v", what, len(failed), len(answers), failed[0].Err)
	}
	if len(answers) == 0 {
		s.t.Errorf("%s: there was not one request", what)
	}
}

// noneAnswered fails the test if one got an answer.
func (s *stage) noneAnswered(vip string) {
	s.t.Helper()
	load := s.load(vip)
	load.Requests, load.Workers, load.Timeout = 4, 4, 200*time.Millisecond
	if counts := load.Run(s.t.Context()).Counts(); len(counts) > 0 {
		s.t.Errorf("%s is still answered, by %v", vip, counts)
	}
}

// weights are those of a service's backends, by name.
type weights map[string]int

// spread checks that requests to a VIP are all answered, and by each backend as
// often as its weight asks for. It allows five standard deviations of a binomial
// distribution, which one run in a million exceeds by chance; the Maglev table is
// exact to 1 %, which is far less.
func (s *stage) spread(vip string, want weights) {
	s.t.Helper()
	const requests = 1000
	answers := s.ask(vip, requests)
	s.allAnswered(vip, answers)
	sum := 0
	for _, w := range want {
		sum += w
	}
	counts := answers.Counts()
	for name, w := range want {
		share := float64(w) / float64(sum)
		bound := 5 * math.Sqrt(requests*share*(1-share))
		if off := math.Abs(float64(counts[name]) - share*requests); off > bound {
			s.t.Errorf("%s: %s answered %d of %d requests, its weight asks for %.0f within %.0f", vip, name, counts[name], requests, share*requests, bound)
		}
	}
	for name, n := range counts {
		if _, is := want[name]; !is {
			s.t.Errorf("%s: %s answered %d of %d requests, and should answer none", vip, name, n, requests)
		}
	}
}

// window is a time in which requests may be lost: those that were under way
// somewhere in it.
type window struct {
	from, to time.Time
}

// until ends a window with the last change of the tables.
func (s *stage) until(from time.Time) window {
	s.t.Helper()
	return window{from, applied(s.status())}
}

// changing is the window of the last change of the tables itself.
func (s *stage) changing() window {
	s.t.Helper()
	now := s.status()
	return window{now.LastApply.At, applied(now)}
}

func applied(status api.Status) time.Time {
	return status.LastApply.At.Add(time.Duration(status.LastApply.ApplyMS * float64(time.Millisecond)))
}

// lostOnlyIn fails the test for each request that was lost at another time, and
// returns how many were lost.
func (s *stage) lostOnlyIn(answers traffic.Answers, windows ...window) int {
	s.t.Helper()
	failed := answers.Failed()
	for _, a := range failed {
		excused := slices.ContainsFunc(windows, func(w window) bool {
			return !a.Sent.After(w.to) && !a.Sent.Add(a.Took).Before(w.from)
		})
		if !excused {
			s.t.Errorf("a request sent at %s was lost after %v, outside of %v: %v", clock(a.Sent), a.Took, windows, a.Err)
		}
	}
	return len(failed)
}

func (w window) String() string { return fmt.Sprintf("%s to %s", clock(w.from), clock(w.to)) }

func clock(t time.Time) string { return t.Format("15:04:05.000") }
