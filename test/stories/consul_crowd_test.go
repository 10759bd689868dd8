package stories

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// A thousand instances are three hosts: each of them is a gateway to a network of
// addresses that are all its own. Those of backend-1 and backend-2 are steady.
const (
	instances = 1000
	steady    = 100
	flaps     = 6
)

const thousands = `
limits { backends = 4096 }
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  consul {
    service          = "crowd"
    allowed_backends = ["10.77.0.0/16"]
  }
}`

func instance(i int) (name string, host int, addr netip.Addr) {
	host = 1 + i%2
	if i >= steady {
		host = 3
	}
	return fmt.Sprintf("crowd-%03d", i), host, netip.AddrFrom4([4]byte{10, 77, byte(host<<4 | i>>8), byte(i)})
}

func TestPrivilegedAThousandInstancesThatFlapBreakNothingOfThoseThatDoNot(t *testing.T) {
	c := openCluster(t, discovered, 1)
	for n := 1; n <= 3; n++ {
		network := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(n << 4), 0}), 20)
		c.must(c.Lab.Balancer.AddRoute(network, c.backend(n).Addr4))
	}
	c.registerCrowd()
	c.reload(thousands)
	c.crowdIs(instances, 0)

	asking := c.keepAsking(webVIPs...)
	asking.join()
	asking.join()
	var losses []window
	for range flaps {
		critical := time.Now()
		c.crowdSays(api.HealthCritical)
		c.crowdIs(steady, instances-steady)
		losses = append(losses, c.until(critical, "backend-3"))
		c.crowdSays(api.HealthPassing)
		c.crowdIs(instances, 0)
	}
	h := asking.finish()
	c.lostOnlyIn(h, losses...)
	t.Logf("%d requests meanwhile, %d were lost with those that turned critical; flows that broke: %v", len(h.Answers), len(h.Failed()), h.broken.Counts())

	// And the end is what Consul says now.
	c.spread(webVIPs[0], weights{"backend-1": steady / 2, "backend-2": steady / 2, "backend-3": instances - steady})
}

func (c *cluster) registerCrowd() {
	c.t.Helper()
	var ops api.TxnOps
	for n := 1; n <= 3; n++ {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: c.backend(n).Name, Address: c.backend(n).Addr4.String()}}})
	}
	for i := range instances {
		name, host, addr := instance(i)
		ops = append(ops, &api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: c.backend(host).Name,
			Service: api.AgentService{ID: name, Service: "crowd", Address: addr.String(), Port: 80}}},
			c.check(i, api.HealthPassing))
	}
	c.transact(ops)
}

func (c *cluster) check(i int, status string) *api.TxnOp {
	name, host, _ := instance(i)
	return &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
		Node: c.backend(host).Name, CheckID: name, Name: "alive", ServiceID: name, Status: status,
	}}}
}

// crowdSays has all flap that do.
func (c *cluster) crowdSays(status string) {
	c.t.Helper()
	var ops api.TxnOps
	for i := steady; i < instances; i++ {
		ops = append(ops, c.check(i, status))
	}
	c.transact(ops)
}

// crowdIs waits until so many serve and so many do not.
func (c *cluster) crowdIs(up, down int) {
	c.t.Helper()
	c.must(c.Await(c.t.Context(), longRetry, fmt.Sprintf("%d instances are up and %d down", up, down), func() error {
		now, err := c.service("web")
		if err != nil {
			return err
		}
		counts := map[string]int{}
		for _, b := range now.Backends {
			counts[b.State]++
		}
		if counts["up"] != up || counts["down"] != down {
			return fmt.Errorf("they are %v", counts)
		}
		return nil
	}))
}
