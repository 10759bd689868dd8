package stories

import (
	"testing"

	"github.com/pointsman/pointsman/test/lab"
)

// Those who go through the changes. More join on the way.
const (
	crowdTCP = 2000
	crowdUDP = 300
)

func TestPrivilegedFlowsToLivingBackendsSurviveEveryChange(t *testing.T) {
	s := open(t, lab.Options{Backends: 5}, 1)
	h := house{top: "limits { flows = 16384 }", settings: `  drain_timeout = "15s"`} // a flood can fill it
	s.begin(h.with(1, 1, 1))
	c := s.gather(crowdTCP, crowdUDP)
	c.act("backend-3 drains to its end", func() { c.drainToTheEnd(3) })
	c.act("backend-3 comes back, and its clients", func() {
		c.operate("undrain", 3)
		c.awaitState("backend-3", "up")
		c.join(crowdTCP/3, crowdUDP/3)
	})
	c.churn(h)
	c.act("weights change in a flood of SYNs", func() {
		c.flood(func() {
			c.reload(h.with(1, 4, 2, 2, 2))
			c.newcomersInAFlood(crowdTCP4, 300)
			c.join(40, 8)
		})
	})
	c.act("slots without flows settle", c.digested)
	c.approach(weights{"backend-1": 1, "backend-2": 4, "backend-3": 2, "backend-4": 2, "backend-5": 2})
	c.act("backend-2 drains until its time is over", func() { c.drainUntilCut(2) })
	c.approach(weights{"backend-1": 1, "backend-3": 2, "backend-4": 2, "backend-5": 2})
	c.intact()
}

func TestPrivilegedFlowsSurviveWithAFlowTableTooSmallByFar(t *testing.T) {
	s := open(t, lab.Options{Backends: 5}, 1)
	h := house{top: "limits { flows = 64 }"}
	s.begin(h.with(1, 1, 1))
	c := s.gather(crowdTCP, crowdUDP)
	want := c.churn(h)
	if refused := c.status().FlowTable.Refused; refused == 0 {
		t.Error("there was room for every flow")
	}
	c.act("slots without flows settle", c.digested)
	c.approach(want)
	c.intact()
}

func TestPrivilegedTheSameChangesBreakFlowsWithoutSlots(t *testing.T) {
	s := open(t, lab.Options{Backends: 5}, 1)
	h := house{settings: `  tracking = "never"`} // pure Maglev
	s.begin(h.with(1, 1, 1))
	c := s.gather(crowdTCP, crowdUDP)
	c.approach(c.churn(h))
	wronged := c.wronged()
	if len(wronged) == 0 {
		t.Error("no flow broke: what are slots good for?")
	}
	t.Logf("in all: of %d flows %s", len(c.flows()), causes(wronged))
}

// approach checks that new flows go where the weights ask for.
func (c *crowd) approach(want weights) {
	c.t.Helper()
	for _, vip := range []string{crowdTCP4, crowdUDP6} {
		c.shares(vip, want)
	}
}

// intact fails the test if a flow broke that was to survive.
func (c *crowd) intact() {
	c.t.Helper()
	wronged := c.wronged()
	if len(wronged) > 0 {
		c.t.Errorf("%d flows to living backends broke", len(wronged))
	}
	c.t.Logf("in all: of %d flows %s; %+v", len(c.flows()), causes(wronged), c.status().FlowTable)
}
