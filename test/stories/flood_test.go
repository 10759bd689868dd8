package stories

import (
	"context"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/test/traffic"
)

const (
	// floodFlows are sent, if the machine manages so many within longestFlood.
	// Each takes it about 12 µs, since it goes through the whole lab.
	floodFlows   = 2_000_000
	longestFlood = 35 * time.Second
)

// letFloodsThrough has packets from nowhere reach the backends, which drop them
// there: what a flood does to a backend is not the balancer's.
func (s *stage) letFloodsThrough() {
	s.t.Helper()
	s.must(s.Lab.Router.AddRoute(traffic.FloodNet, s.Lab.Client.Addr4))
	for _, b := range s.Lab.Backends {
		s.must(b.Ignore(traffic.FloodNet))
	}
}

// flood sends SYNs, each a flow of its own, and plays a change while they come.
func (c *crowd) flood(change func()) {
	c.t.Helper()
	c.letFloodsThrough()
	ctx, stop := context.WithTimeout(c.ctx, longestFlood)
	defer stop()
	type result struct {
		sent uint64
		err  error
	}
	over, began, before := make(chan result, 1), time.Now(), c.newFlows()
	go func() {
		sent, err := traffic.Flood{From: c.Lab.Client, To: c.load(crowdTCP4).To, Workers: 2}.Run(ctx)
		over <- result{sent, err}
	}()
	c.await("the flood is there", func() error {
		if n := c.newFlows() - before; n < 10_000 {
			return fmt.Errorf("%d flows have arrived", n)
		}
		return nil
	})
	change()
	for ctx.Err() == nil && c.newFlows()-before < floodFlows {
		c.heard()
	}
	stop()
	flooded := <-over
	c.must(flooded.err)
	took := time.Since(began)
	c.t.Logf("  the flood: %d SYNs in %.1f s, each a flow of its own, %.0f a second; %d arrived at the balancer",
		flooded.sent, took.Seconds(), float64(flooded.sent)/took.Seconds(), c.newFlows()-before)
}

// newFlows are those that the crowd's service has seen.
func (c *crowd) newFlows() uint64 {
	c.t.Helper()
	now, err := c.service("crowd")
	c.must(err)
	return now.NewFlows
}
