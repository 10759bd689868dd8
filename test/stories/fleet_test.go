package stories

import (
	"testing"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
)

func TestPrivilegedTwoBalancersAgreeOnEveryFlowOfASettledService(t *testing.T) {
	s := open(t, lab.Options{Backends: 5, SecondBalancer: true}, 1)
	second := &stage{balancer.NewSecond(s.Lab, program), t, s.interfaces}
	t.Cleanup(func() {
		if err := second.Close(); err != nil {
			t.Errorf("clearing up the second balancer: %v", err)
		}
	})
	h := house{top: `hash_secret = "known to both of them"`}
	s.begin(h.with(3, 1, 2, 1, 1))
	second.begin(h.with(3, 1, 2, 1, 1))

	c := second.gather(600, 200) // it is the one that stays
	c.act("the first balancer forwards", func() {})
	c.act("the router sends all to the second", func() {
		s.must(s.Lab.SendVIPsTo(s.Lab.Second))
		c.join(200, 60)
	})
	if n := second.status().Outcomes["FORWARD"]; n < uint64(c.size()) {
		t.Errorf("the second has forwarded %d packets of %d flows", n, c.size())
	}
	c.act("and back to the first", func() { s.must(s.Lab.SendVIPsTo(s.Lab.Balancer)) })
	c.act("the first is taken away in mid-traffic", func() {
		s.must(s.Lab.SendVIPsTo(s.Lab.Second))
		s.must(s.Daemon.Stop())
		s.must(s.Detach(t.Context()))
	})
	if broken := c.broken(); len(broken) > 0 {
		t.Errorf("of %d flows %s", len(c.flows()), causes(broken))
	}
}
