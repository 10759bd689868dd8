package stories

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/traffic"
)

// clients are requests that go on while something happens, and flows that stay
// open and in use.
type clients struct {
	s     *stage
	vips  []string
	stop  context.CancelFunc
	over  []chan traffic.Answers
	talks []*traffic.Conversation
	asked heard // by ask
}

// heard is what became of what clients did.
type heard struct {
	traffic.Answers                // to the requests
	broken          traffic.Flows  // of those that stayed open
	opened          map[string]int // flows by VIP: requests, and those that stayed open
}

// load is for a VIP that is written "http 192.0.2.1:80".
func (s *stage) load(vip string) traffic.Load {
	s.t.Helper()
	kind, to, _ := strings.Cut(vip, " ")
	address, err := netip.ParseAddrPort(to)
	s.must(err)
	// A segment that a busy machine loses is sent again after a second.
	return traffic.Load{From: s.Lab.Client, Kind: traffic.Kind(kind), To: address, Timeout: 5 * time.Second}
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
	c := &clients{s: s, vips: vips, stop: stop, asked: heard{opened: map[string]int{}}}
	s.t.Cleanup(c.leave)
	for _, vip := range vips {
		load := s.load(vip)
		load.Workers, load.Pause = 2, 5*time.Millisecond
		over := make(chan traffic.Answers, 1)
		c.over = append(c.over, over)
		go func() { over <- load.Run(ctx) }()
	}
	for _, vip := range vips {
		s.allAnswered(vip, c.ask(vip, 50))
	}
	c.join()
	return c
}

// ask is the stage's, and what becomes of it is heard in the end.
func (c *clients) ask(vip string, requests int) traffic.Answers {
	c.s.t.Helper()
	answers := c.s.ask(vip, requests)
	c.asked.Answers = append(c.asked.Answers, answers...)
	c.asked.opened[vip] += len(answers)
	return answers
}

// The flows that join stay in use: a UDP flow that is silent for longer than the
// service's idle timeout counts as over, so this is far less.
const (
	joining   = 25 // to each VIP
	talkEvery = 100 * time.Millisecond
)

// join opens more flows that stay open. Those that are there before a change and
// those that come after it are not the same to a balancer.
func (c *clients) join() {
	c.s.t.Helper()
	for _, vip := range c.vips {
		talk := &traffic.Conversation{Flows: c.s.openFlows(vip, joining), Every: talkEvery, Patience: patience / 2}
		c.talks = append(c.talks, talk)
		c.asked.opened[vip] += len(talk.Flows)
		go talk.Run(context.Background()) // until leave closes its flows
	}
}

func (c *clients) leave() {
	c.stop()
	for _, talk := range c.talks {
		talk.Flows.Close()
	}
}

// finish lets the clients go on for a moment, until each flow has been heard once
// more, stops them and tells what became of all that they did.
func (c *clients) finish() heard {
	c.s.t.Helper()
	now, enough := time.Now(), time.After(300*time.Millisecond)
	c.s.await("every flow is heard or broken", func() error {
		silent := 0
		for _, talk := range c.talks {
			silent += talk.Silent(now)
		}
		if silent > 0 {
			return fmt.Errorf("%d are silent", silent)
		}
		return nil
	})
	<-enough
	c.leave()
	h := heard{Answers: slices.Clone(c.asked.Answers), opened: maps.Clone(c.asked.opened)}
	for i, over := range c.over {
		answers := <-over
		h.Answers = append(h.Answers, answers...)
		h.opened[c.vips[i]] += len(answers)
	}
	h.Sort()
	for _, talk := range c.talks {
		h.broken = append(h.broken, talk.Broken()...)
	}
	return h
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
//
// A backend that takes over UDP slots gets their new flows only after an idle
// timeout, so that is waited for. Even then some that seem new are not: a client's
// port that was in use within the timeout makes the same flow, and it is remembered.
func (s *stage) spread(vip string, want weights) {
	s.t.Helper()
	if strings.HasPrefix(vip, "udp ") {
		s.must(s.AwaitLearned(s.t.Context(), patience))
	}
	s.shares(vip, want)
}

// shares is spread without the waiting: for services where some flow keeps on
// talking that cannot be remembered, so that its slot goes on learning.
func (s *stage) shares(vip string, want weights) {
	s.t.Helper()
	const requests = 1000
	old := 0.0
	if strings.HasPrefix(vip, "udp ") {
		old = requests / 20 // less than 1000 in two seconds, of 28,000 ports
	}
	answers := s.ask(vip, requests)
	s.allAnswered(vip, answers)
	sum := 0
	for _, w := range want {
		sum += w
	}
	counts := answers.Counts()
	for name, w := range want {
		share := float64(w) / float64(sum)
		bound := old + 5*math.Sqrt(requests*share*(1-share))
		if off := math.Abs(float64(counts[name]) - share*requests); off > bound {
			s.t.Errorf("%s: %s answered %d of %d requests, its weight asks for %.0f within %.0f", vip, name, counts[name], requests, share*requests, bound)
		}
	}
	for name, n := range counts {
		if _, is := want[name]; !is && float64(n) > old {
			s.t.Errorf("%s: %s answered %d of %d requests, and should answer none", vip, name, n, requests)
		}
	}
}

// window is a time in which something may be lost: the requests that were under
// way somewhere in it, and the flows of backends that died then.
type window struct {
	from, to time.Time
	dead     []string // of everybody if empty
}

// until ends a window with the last change of the tables.
func (s *stage) until(from time.Time, dead ...string) window {
	s.t.Helper()
	return window{from, applied(s.status()), dead}
}

// changing is the window of the last change of the tables itself.
func (s *stage) changing(dead ...string) window {
	s.t.Helper()
	now := s.status()
	return window{now.LastApply.At, applied(now), dead}
}

func applied(status api.Status) time.Time {
	return status.LastApply.At.Add(time.Duration(status.LastApply.ApplyMS * float64(time.Millisecond)))
}

// nothingLost fails the test for each request that was lost and each flow that
// broke. It is the rule: slots keep what goes to a backend that lives, whatever
// changes around it.
func (s *stage) nothingLost(h heard) {
	s.t.Helper()
	s.lostOnlyIn(h)
}

// lostOnlyIn excuses what was lost in windows. There is one only where a backend died or was said to be dead, where a
// service got another number of slots or another way of forwarding, and where a
// VIP went to another service, whose slots know nothing of its flows.
func (s *stage) lostOnlyIn(h heard, windows ...window) {
	s.t.Helper()
	if len(h.Answers) == 0 {
		s.t.Error("there was not one request")
	}
	failed := h.Failed()
	for _, a := range failed {
		if !slices.ContainsFunc(windows, func(w window) bool { return w.excuses(a) }) {
			s.t.Errorf("a request sent at %s was lost after %v, outside of %v: %v", clock(a.Sent), a.Took, windows, a.Err)
		}
	}
	if len(failed)+len(h.broken) > 0 {
		s.t.Logf("%d of %d requests were lost, and flows of %v broke; packets so far: %v",
			len(failed), len(h.Answers), h.broken.Counts(), s.status().Outcomes)
	}
	for _, f := range h.broken {
		if !slices.ContainsFunc(windows, func(w window) bool { return w.excusesFlow(f) }) {
			s.t.Errorf("the %s flow from %s to %s broke at %s, outside of %v: %v", f.Client.Network(), f.Client, f.Backend, clock(f.At), windows, f.Broken)
		}
	}
}

func (w window) excuses(a traffic.Answer) bool {
	return !a.Sent.After(w.to) && !a.Sent.Add(a.Took).Before(w.from)
}

// excusesFlow takes into account that a flow notices only when it is used, and
// by silence alone if the backend that it falls to had the same client's port
// before: its socket in TIME_WAIT does not reset the flow (RFC 9293, 3.10.7.4).
func (w window) excusesFlow(f *traffic.Flow) bool {
	return (len(w.dead) == 0 || slices.Contains(w.dead, f.Backend)) &&
		f.At.After(w.from) && f.At.Before(w.to.Add(patience))
}

func (w window) String() string {
	return fmt.Sprintf("%s to %s for flows of %v", clock(w.from), clock(w.to), w.dead)
}

func clock(t time.Time) string { return t.Format("15:04:05.000") }
