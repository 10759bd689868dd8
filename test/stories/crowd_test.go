package stories

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pointsman/pointsman/test/traffic"
)

// What a crowd uses.
const (
	crowdTCP4 = "tcp 192.0.2.1:7000"
	crowdTCP6 = "tcp [2001:db8:10::1]:7000"
	crowdUDP4 = "udp 192.0.2.1:53"
	crowdUDP6 = "udp [2001:db8:10::1]:53"
)

// crowd is many flows on which something is said all the time, while the
// balancer's world changes, one act after another.
type crowd struct {
	*stage
	ctx     context.Context
	quit    context.CancelFunc
	over    sync.WaitGroup
	lock    sync.Mutex
	talks   []*traffic.Conversation // appended to under the lock
	excuses []func(*traffic.Flow) bool
	seen    int // how many flows had broken before this act
}

// gather opens flows and has them talk until the test is over.
func (s *stage) gather(tcp, udp int) *crowd {
	s.t.Helper()
	c := &crowd{stage: s}
	s.must(traffic.AllowFiles(16 << 10)) // this process has both ends of each flow
	c.ctx, c.quit = context.WithCancel(s.t.Context())
	s.t.Cleanup(c.dissolve)
	c.join(tcp, udp)
	return c
}

// join opens more flows, a quarter of them over IPv6.
func (c *crowd) join(tcp, udp int) {
	c.t.Helper()
	var opening errgroup.Group
	for vip, count := range map[string]int{
		crowdTCP4: tcp - tcp/4, crowdTCP6: tcp / 4,
		crowdUDP4: udp - udp/4, crowdUDP6: udp / 4,
	} {
		load := c.load(vip)
		opening.Go(func() error { return c.open(load, count) })
	}
	c.must(opening.Wait())
}

func (c *crowd) open(load traffic.Load, count int) error {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	flows, err := traffic.Open(ctx, load.From, load.Kind, load.To, count)
	if err != nil {
		return err
	}
	talk := &traffic.Conversation{Flows: flows, Every: 600 * time.Millisecond, Patience: patience}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.talks = append(c.talks, talk)
	c.over.Go(func() { talk.Run(c.ctx) })
	return nil
}

func (c *crowd) dissolve() {
	c.quit()
	c.flows().Close()
	c.over.Wait()
}

// flows are all that were ever opened.
func (c *crowd) flows() traffic.Flows {
	var all traffic.Flows
	for _, talk := range c.talks {
		all = append(all, talk.Flows...)
	}
	return all
}

// broken are the flows that have broken, the first first.
func (c *crowd) broken() traffic.Flows {
	var all traffic.Flows
	for _, talk := range c.talks {
		all = append(all, talk.Broken()...)
	}
	slices.SortFunc(all, func(a, b *traffic.Flow) int { return a.At.Compare(b.At) })
	return all
}

func (c *crowd) size() (open int) {
	for _, talk := range c.talks {
		open += talk.Open()
	}
	return open
}

// heard waits until every open flow has answered a question that was asked from
// now on: what an act breaks is broken by then.
func (c *crowd) heard() {
	c.t.Helper()
	now := time.Now()
	// A flow may break by silence alone, which takes all of its patience: where it
	// falls to a backend that has its client's port in TIME_WAIT, nobody resets it.
	c.must(c.Await(c.ctx, 2*patience, "every flow is heard", func() error {
		silent := 0
		for _, talk := range c.talks {
			silent += talk.Silent(now)
		}
		if silent > 0 {
			return fmt.Errorf("%d are silent", silent)
		}
		return nil
	}))
}

// act plays a change and says what became of the flows.
func (c *crowd) act(name string, change func()) {
	c.t.Helper()
	began := time.Now()
	change()
	c.heard()
	all := c.broken()
	now := all[c.seen:]
	c.seen = len(all)
	c.t.Logf("%s: %d flows open, %s, after %.1f s", name, c.size(), causes(now), time.Since(began).Seconds())
}

// causes says how many flows broke, by their backends, and shows the first.
func causes(broken traffic.Flows) string {
	if len(broken) == 0 {
		return "0 broke"
	}
	first := broken[0]
	return fmt.Sprintf("%d broke, of %v; the first, %s from %s, at %s: %v",
		len(broken), broken.Counts(), first.Client.Network(), first.Client, clock(first.At), first.Broken)
}

// newcomers sends requests, each a new flow, and says whom they reached. All must
// be answered.
func (c *crowd) newcomers(when, vip string, requests int) map[string]int {
	c.t.Helper()
	answers := c.arrive(vip, requests)
	c.allAnswered(when+", "+vip, answers)
	return c.reached(when, vip, answers)
}

// newcomersInAFlood are newcomers whose first SYN may find the table full and go
// to the fallback, and whose second may be remembered for the owner, which resets
// what the fallback answers late. Nothing else may happen to them, and this not to
// one in a hundred.
func (c *crowd) newcomersInAFlood(vip string, requests int) {
	c.t.Helper()
	answers := c.arrive(vip, requests)
	failed := answers.Failed()
	for _, a := range failed {
		if a.Took < synAgain {
			c.t.Errorf("in the flood, a connection broke after %v, before its SYN can have been sent twice: %v", a.Took, a.Err)
		}
		c.t.Logf("  in the flood, a connection broke after %v: %v", a.Took, a.Err)
	}
	if len(failed) > requests/100 {
		c.allAnswered("in the flood, "+vip, answers)
	}
	c.reached("in the flood", vip, answers)
}

// synAgain is after how long a client sends its SYN again (RFC 6298, section 2.1).
const synAgain = time.Second

func (c *crowd) arrive(vip string, requests int) traffic.Answers {
	c.t.Helper()
	load := c.load(vip)
	// A SYN that is lost is sent again after a second, and after two more.
	load.Requests, load.Workers, load.Timeout = requests, 8, 5*time.Second
	return load.Run(c.ctx)
}

func (c *crowd) reached(when, vip string, answers traffic.Answers) map[string]int {
	c.t.Helper()
	counts := answers.Counts()
	text := ""
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf(" %s %.1f%%", name, 100*float64(counts[name])/float64(len(answers)))
	}
	c.t.Logf("  %s, new flows to %s:%s", when, vip, text)
	return counts
}

// excuse lets flows break that an act is about.
func (c *crowd) excuse(is func(*traffic.Flow) bool) { c.excuses = append(c.excuses, is) }

// wronged are the flows that broke and should not have.
func (c *crowd) wronged() traffic.Flows {
	return slices.DeleteFunc(c.broken(), func(f *traffic.Flow) bool {
		return slices.ContainsFunc(c.excuses, func(is func(*traffic.Flow) bool) bool { return is(f) })
	})
}
