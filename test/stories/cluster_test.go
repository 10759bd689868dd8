package stories

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/consul"
	"github.com/pointsman/pointsman/test/lab"
)

// cluster is the stage with a real cluster of Consul, which denies by default. The
// balancer asks the agent near; backend-1 and backend-2 are far's, backend-3 is a
// node's that no agent speaks for.
type cluster struct {
	*stage
	near, far *consul.Agent
	accessor  string // of the token that the balancer has
	early     []byte // a snapshot from before backend-3
}

// connections are what near allows: enough for what stories ask, and soon filled.
const connections = 24

// openCluster is the stage with services up whose backends are those of web.
func openCluster(t *testing.T, services string, vips ...byte) *cluster {
	t.Helper()
	s := open(t, lab.Options{Backends: 3}, vips...)
	few := func(o *consul.Options) { o.ACL, o.Limit = true, connections }
	s.must(s.StartCluster(t.Context(), few, t.Logf, "near", "far"))
	c := &cluster{stage: s, near: s.Cluster.Agents[0], far: s.Cluster.Agents[1]}
	c.grant("at-first")
	c.registerFar(1, 1)
	c.registerFar(2, 2)
	snapshot, _, err := c.far.Client().Snapshot().Save(nil)
	c.must(err)
	c.early, err = io.ReadAll(snapshot)
	c.must(err)
	c.registerElsewhere(3, api.HealthPassing)
	c.begin(services)
	c.awaitBackends("web", allUp...)
	return c
}

func (c *cluster) in(t *testing.T) *cluster {
	in := *c
	in.stage = c.stage.in(t)
	return &in
}

func (c *cluster) registerFar(n, weight int) {
	c.t.Helper()
	h := c.backend(n)
	c.must(c.far.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: h.Name, Name: "web", Address: h.Addr4.String(), Port: 80,
		Weights: &api.AgentWeights{Passing: weight, Warning: 1},
		Check:   &api.AgentServiceCheck{CheckID: h.Name, TTL: "10m", Status: api.HealthPassing},
	}))
}

// says is the word of a backend's check.
func (c *cluster) says(n int, status string) {
	c.t.Helper()
	if n == 3 {
		c.registerElsewhere(3, status)
		return
	}
	c.must(c.far.Client().Agent().UpdateTTL(c.backend(n).Name, "", status))
}

// allSay is the word of all checks at once, as it is to a watch: a part of them
// would be another case.
func (c *cluster) allSay(status string) {
	c.t.Helper()
	var ops api.TxnOps
	for n := range 3 {
		node := "far"
		if n == 2 {
			node = otherNode
		}
		name := c.backend(n + 1).Name
		ops = append(ops, &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
			Node: node, CheckID: name, Name: "alive", ServiceID: name, Status: status,
		}}})
	}
	c.transact(ops)
}

// transact carries operations out, as many at a time as Consul takes.
func (c *cluster) transact(all api.TxnOps) {
	c.t.Helper()
	for some := range slices.Chunk(all, 64) {
		ok, answer, _, err := c.far.Client().Txn().Txn(some, nil)
		c.must(err)
		if !ok {
			c.t.Fatalf("%+v", answer.Errors)
		}
	}
}

// tokenFile is where the balancer finds its token.
func (s *stage) tokenFile() string { return filepath.Join(s.Lab.Dir, "consul.token") }

const rights = "service_prefix \"\" { policy = \"read\" }\nnode_prefix \"\" { policy = \"read\" }"

// grant gives the balancer a token with a policy of its own.
func (c *cluster) grant(policy string) {
	c.t.Helper()
	acl := c.far.Client().ACL()
	_, _, err := acl.PolicyCreate(&api.ACLPolicy{Name: policy, Rules: rights}, nil)
	c.must(err)
	token, _, err := acl.TokenCreate(&api.ACLToken{Policies: []*api.ACLLink{{Name: policy}}}, nil)
	c.must(err)
	c.accessor = token.AccessorID
	c.must(os.WriteFile(c.tokenFile(), []byte(token.SecretID), 0o600))
}

// longRetry is for what waits for a question to be put again, which is at most 15
// seconds after the last, once it has failed for a while.
const longRetry = 30 * time.Second

// held waits until status and log say that the view is held, and why, and checks
// that nothing has changed for clients. Of several reasons any will do: which comes
// first is a matter of when the agent is asked.
func (c *cluster) held(reasons ...string) {
	c.t.Helper()
	slots := c.slots("web")
	var why string
	c.must(c.Await(c.t.Context(), longRetry, "the view is held because of "+strings.Join(reasons, " or "), func() error {
		now, err := c.Status(c.t.Context())
		if err != nil || now.Consul == nil {
			return err
		}
		for _, reason := range reasons {
			if why = now.Consul.Held["web"]; why == reason {
				return nil
			}
		}
		return fmt.Errorf("Consul is %s, holding %v", now.Consul.State, now.Consul.Held)
	}))
	now := c.status()
	if now.Consul.StaleSince == nil || now.State != "degraded" {
		c.t.Errorf("the status does not say since when: %+v", now.Consul)
	}
	c.awaitWarning(fmt.Sprintf("Consul's view of service web is held (%s), stale since ", why))
	if !strings.Contains(c.Log(), fmt.Sprintf(`"why":%q`, why)) {
		c.t.Errorf("the log does not say why: %s", why)
	}
	c.untouched(slots)
}

// restart kills the agent that the balancer asks and starts it again, so that the
// balancer puts its questions anew: a watch may not hear for its whole wait, a
// minute, of what concerns it.
func (c *cluster) restart() {
	c.t.Helper()
	c.must(c.near.Kill())
	c.must(c.near.RestartAlone(c.t.Context()))
}

// untouched checks that all backends serve, from the same slots.
func (c *cluster) untouched(slots map[string]uint32) {
	c.t.Helper()
	c.must(c.compare("web", allUp))
	if got := c.slots("web"); fmt.Sprint(got) != fmt.Sprint(slots) {
		c.t.Errorf("the slots are %v, and were %v", got, slots)
	}
	for _, vip := range webVIPs {
		c.spread(vip, everyone)
	}
}

// confirmed waits until every view is Consul's word again.
func (c *cluster) confirmed() {
	c.t.Helper()
	c.must(c.Await(c.t.Context(), longRetry, "Consul's view is confirmed", func() error {
		now, err := c.Status(c.t.Context())
		if err == nil && now.Consul.State != "ok" {
			err = fmt.Errorf("Consul is %s, holding %v", now.Consul.State, now.Consul.Held)
		}
		return err
	}))
}

// follows checks that a real change is applied after all. No backend dies of it,
// so nothing may be lost.
func (c *cluster) follows() {
	c.t.Helper()
	c.confirmed()
	c.says(2, api.HealthWarning)
	c.awaitBackends("web", "backend-1 up", "backend-2 up warning in Consul", "backend-3 up")
	c.spread(webVIPs[0], everyoneAlike)
	c.says(2, api.HealthPassing)
	c.awaitBackends("web", allUp...)
	c.await("backend-2 has its weight again", func() error {
		if slots := c.slots("web"); slots["backend-2"] < slots["backend-1"]*3/2 {
			return fmt.Errorf("the slots are %v", slots)
		}
		return nil
	})
}
