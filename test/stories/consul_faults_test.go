package stories

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestPrivilegedFaultsOfConsulCostClientsNothing(t *testing.T) {
	c := openCluster(t, discovered, 1)
	asking := c.keepAsking(webVIPs...)
	for _, row := range []struct {
		promise string
		fault   func(*cluster)
	}{
		{"the leader is killed", (*cluster).withoutLeader},
		{"all servers are killed, and the agent, which comes back before them", (*cluster).withoutServers},
		{"the agent is killed and comes back with nothing", (*cluster).forgetful},
		{"a snapshot is restored that does not have all backends", (*cluster).restored},
		{"the token's policy is stripped", (*cluster).stripped},
		{"the token is deleted", (*cluster).deleted},
		{"the agent takes no more connections", (*cluster).crowdedOut},
	} {
		t.Run(row.promise, func(t *testing.T) {
			c := c.in(t)
			row.fault(c)
			c.follows()
			asking.join() // who comes after a fault is not the same as who was there before
		})
	}
	c.nothingLost(asking.finish())
}

func (c *cluster) withoutLeader() {
	slots := c.slots("web")
	leader, err := c.Cluster.Leader()
	c.must(err)
	c.must(leader.Kill())
	c.untouched(slots)
	// What is said to an agent while nobody leads, it passes on only after a pause.
	c.await("another server leads", func() error {
		next, err := c.Cluster.Leader()
		if err == nil && next == leader {
			err = errors.New("the servers still name the one that was killed")
		}
		return err
	})
	c.follows() // by the next leader
	c.must(leader.Restart(c.t.Context()))
	c.untouched(slots)
}

func (c *cluster) withoutServers() {
	c.must(c.Cluster.KillServers())
	c.held("no leader")
	c.must(c.near.Kill())
	c.held("unreachable")
	c.must(c.near.RestartAlone(c.t.Context()))
	c.held("no leader", "403", "no data")
	c.must(c.Cluster.RestartServers(c.t.Context()))
}

func (c *cluster) forgetful() {
	c.must(c.near.Kill())
	c.must(c.near.Forget())
	c.held("unreachable")
	c.must(c.near.RestartAlone(c.t.Context()))
}

func (c *cluster) stripped() {
	acl := c.far.Client().ACL()
	policy, _, err := acl.PolicyReadByName("at-first", nil)
	c.must(err)
	policy.Rules = ""
	_, _, err = acl.PolicyUpdate(policy, nil)
	c.must(err)
	c.restart()
	c.held("filtered", "403")
	policy.Rules = rights
	_, _, err = acl.PolicyUpdate(policy, nil)
	c.must(err)
}

func (c *cluster) deleted() {
	_, err := c.far.Client().ACL().TokenDelete(c.accessor, nil)
	c.must(err)
	c.restart()
	c.held("403")
	c.grant("another") // the file is read again
}

func (c *cluster) restored() {
	c.must(c.far.Client().Snapshot().Restore(nil, bytes.NewReader(c.early)))
	c.restart()
	c.held("index went back")
	c.registerElsewhere(3, api.HealthPassing) // as its agent would within a minute
}

// crowdedOut has other programs of the host take all connections of the agent
// while it is being restarted, so that the balancer needs a new one.
func (c *cluster) crowdedOut() {
	release, err := c.near.Fill(c.t.Context())
	c.must(err)
	defer release()
	began := time.Now() // before the agent is killed: it may have answered before it is known to be back
	c.restart()
	c.must(c.Await(c.t.Context(), longRetry, "the balancer is refused a connection", func() error {
		now, err := c.Status(c.t.Context())
		switch {
		case err != nil || now.Consul == nil:
			return err
		case now.Consul.Held["web"] == "429":
			return nil
		case now.Consul.State == "ok" && now.Consul.OldestView != nil && now.Consul.OldestView.After(began):
			began = time.Now()
			c.restart() // it was faster than the others
		}
		return fmt.Errorf("Consul is %s, holding %v", now.Consul.State, now.Consul.Held)
	}))
	c.held("429")
	release()
}

// calm is a service with the same backends that does without health when it has to:
// as soon as one is ill, because Consul may show what was said of all at once one
// after the other, and at a lower threshold the last one is rightly dropped.
const calm = discovered + `
service "calm" {
  listen = ["192.0.2.2:80/tcp", "[2001:db8:10::2]:80/tcp"]
  panic_threshold = 1.0
  consul {
    service          = "web"
    allowed_backends = ["198.51.100.0/24"]
  }
}`

func TestPrivilegedWhatConsulSaysForCertainIsDone(t *testing.T) {
	c := openCluster(t, calm, 1, 2)
	calmVIPs := []string{"http 192.0.2.2:80", "http [2001:db8:10::2]:80"}

	t.Run("the agent of two backends leaves and returns: the third's flows are unharmed", func(t *testing.T) {
		c := c.in(t)
		asking := c.keepAsking(webVIPs...)
		left := time.Now()
		c.must(c.Cluster.Leave(t.Context(), c.far))
		c.awaitBackends("web", "backend-3 up")
		gone := c.until(left, "backend-1", "backend-2")
		asking.join()
		c.must(c.far.Restart(t.Context()))
		c.awaitBackends("web", "backend-1 down critical in Consul", "backend-2 down critical in Consul", "backend-3 up")
		c.says(1, api.HealthPassing)
		c.says(2, api.HealthPassing)
		c.awaitBackends("web", allUp...)
		c.spread(webVIPs[0], everyone)
		c.lostOnlyIn(asking.finish(), gone)
	})
	t.Run("all turn critical: they are dropped but where health is to be ignored then", func(t *testing.T) {
		c := c.in(t)
		asking := c.keepAsking(calmVIPs...)
		c.allSay(api.HealthCritical)
		c.awaitBackends("web", "backend-1 down critical in Consul", "backend-2 down critical in Consul", "backend-3 down critical in Consul")
		c.noneAnswered(webVIPs[0])
		c.spread(calmVIPs[0], everyone)
		asking.join()
		c.allSay(api.HealthPassing)
		c.awaitBackends("web", allUp...)
		h := asking.finish()
		c.t.Logf("%d requests while health was ignored", len(h.Answers))
		c.nothingLost(h)
	})
	t.Run("all are deregistered: the service is empty after a second look", func(t *testing.T) {
		c := c.in(t)
		for _, name := range []string{"backend-1", "backend-2"} {
			c.must(c.far.Client().Agent().ServiceDeregister(name))
		}
		c.deregisterElsewhere()
		c.awaitBackends("web")
		c.awaitWarning("service web is down: it has no backends")
		c.noneAnswered(webVIPs[0])
	})
}
