package stories

import (
	"fmt"
	"time"

	"github.com/pointsman/pointsman/test/traffic"
)

// operate has an operator drain or undrain a backend.
func (c *crowd) operate(command string, n int, flags ...string) {
	c.t.Helper()
	address := c.fill(fmt.Sprintf("{{v%d %d}}", 4+(n-1)%2*2, n))
	_, err := c.Run(c.ctx, append([]string{command, "crowd", address, "--socket", c.Socket()}, flags...)...)
	c.must(err)
}

// drainToTheEnd drains a backend whose clients leave, until nothing of them is left.
func (c *crowd) drainToTheEnd(n int) {
	c.t.Helper()
	name := c.backend(n).Name
	c.operate("drain", n)
	c.awaitState(name, "drain")
	counts := c.newcomers("while it drains", crowdTCP4, 600)
	if counts[name] > 0 {
		c.t.Errorf("%d new flows reached %s, with room to remember them elsewhere", counts[name], name)
	}
	c.newcomers("while it drains", crowdUDP4, 300) // by the law some reach it: who is new is not known yet
	c.heard()
	if broken := c.broken()[c.seen:]; len(broken) > 0 {
		c.t.Errorf("as the drain began, %s", causes(broken))
	}
	c.flows().Of(name).Close()
	c.operate("drain", n, "--wait", "--timeout", patience.String())
	b, err := c.guest(name)
	c.must(err)
	if b.State != "drain" || b.Slots+b.FallbackSlots > 0 || b.RememberedFlows > 0 {
		c.t.Errorf("after its drain, %s is %s with %d slots, %d more as a fallback, and %d flows", name, b.State, b.Slots, b.FallbackSlots, b.RememberedFlows)
	}
}

// drainUntilCut drains a backend whose clients stay, until its time is over: then
// all of its flows break, and none before.
func (c *crowd) drainUntilCut(n int) {
	c.t.Helper()
	name := c.backend(n).Name
	c.operate("drain", n)
	c.awaitState(name, "drain")
	b, err := c.guest(name)
	c.must(err)
	c.excuse(func(f *traffic.Flow) bool { return f.Backend == name && !f.At.Before(b.Drain.CutAt) })
	flows := c.flows().Of(name)
	before := len(flows.Broken())
	c.awaitStateFor(time.Until(b.Drain.CutAt)+patience, name, "drained")
	c.heard()
	cut := flows.Broken()[before:]
	if len(cut) != len(flows)-before {
		c.t.Errorf("%d of the %d flows of %s were cut", len(cut), len(flows)-before, name)
	}
}
