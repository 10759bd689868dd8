package consul

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	agents "github.com/pointsman/pointsman/test/consul"
)

// fleet is a cluster as a balancer sees it: the agent that it asks, and those of
// two nodes that run instances of web.
type fleet struct {
	*testing.T
	*agents.Cluster
	near, far, third *agents.Agent
}

func startFleet(t *testing.T, options agents.Options) fleet {
	t.Helper()
	binary, err := agents.Find(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	options.Binary = binary
	c, err := agents.StartCluster(t.Context(), options, "near", "far", "third")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	f := fleet{t, c, c.Agents[0], c.Agents[1], c.Agents[2]}
	for _, id := range []string{"a", "b", "c"} {
		f.register(f.far, id)
	}
	f.register(f.third, "z")
	return f
}

// everybody is the view of a fleet that is well.
const everybody = "a:passing b:passing c:passing z:passing "

func (f fleet) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f fleet) register(at *agents.Agent, id string) {
	f.Helper()
	(&real{T: f.T, agent: at}).register(id)
}

func (f fleet) says(at *agents.Agent, id, status string) {
	f.Helper()
	f.must(at.Client().Agent().UpdateTTL("ttl-"+id, "", status))
}

// elsewhere registers an instance with a node whose agent has no say meanwhile: it
// would register its instances again whenever it looks.
func elsewhere(t *testing.T, at *agents.Agent, node, id string) {
	t.Helper()
	_, err := at.Client().Catalog().Register(&api.CatalogRegistration{
		Node: node, Address: "10.0.0.9",
		Service: &api.AgentService{ID: id, Service: "web", Port: 80, Weights: api.AgentWeights{Passing: 1, Warning: 1}},
		Check:   &api.AgentCheck{Node: node, CheckID: id, Name: "alive", ServiceID: id, Status: api.HealthPassing},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// in is the fleet for a subtest, with a watch that knows everybody.
func (f fleet) in(t *testing.T) (fleet, *real) {
	t.Helper()
	f.T = t
	r := watchReal(t, f.near, Settings{Token: f.near.Token}, web)
	r.until("everybody", is(everybody))
	return f, r
}

// follows checks that a real change is applied, and undone again.
func (f fleet) follows(r *real) {
	f.Helper()
	f.says(f.far, "b", "critical")
	r.until("a change", is("a:passing b:critical c:passing z:passing "))
	f.says(f.far, "b", "passing")
	r.until("the change back", is(everybody))
}

func TestConsulFaultsOfServersAndAgentsLoseNobody(t *testing.T) {
	t.Parallel()
	f := startFleet(t, agents.Options{Limit: 12})
	nobodyLost := loses(4)

	t.Run("the leader is killed", func(t *testing.T) {
		f, r := f.in(t)
		leader, err := f.Leader()
		f.must(err)
		f.must(leader.Kill())
		r.never("after the leader's death", 3*time.Second, nobodyLost)
		f.follows(r)
		f.must(leader.Restart(t.Context()))
		f.follows(r)
	})
	t.Run("all servers are killed, and then the agent, which comes back before them", func(t *testing.T) {
		f, r := f.in(t)
		f.must(f.KillServers())
		t.Log(r.until("the servers missed", because(NoLeader)).Err)
		r.never("without servers", 2*time.Second, nobodyLost)
		f.must(f.near.Kill())
		t.Log(r.until("the agent missed", because(Unreachable)).Err)
		f.must(f.near.RestartAlone(t.Context()))
		v := r.until("doubt about an agent without servers", func(v View) bool { return v.Reason != Unreachable })
		t.Log(v.Err)
		if v.Reason == "" {
			t.Errorf("an agent without servers is believed: %+v", v)
		}
		r.never("of an agent without servers", 2*time.Second, nobodyLost)
		f.must(f.RestartServers(t.Context()))
		r.until("everybody again", is(everybody))
		f.follows(r)
	})
	t.Run("the agent is killed and comes back with nothing", func(t *testing.T) {
		f, r := f.in(t)
		f.must(f.near.Kill())
		r.until("the agent missed", because(Unreachable))
		f.must(f.near.Forget())
		f.must(f.near.RestartAlone(t.Context()))
		r.until("everybody again", is(everybody))
		r.never("with an agent that forgot all", 0, nobodyLost)
		f.follows(r)
	})
	t.Run("a snapshot is restored that does not have all instances", func(t *testing.T) {
		f, r := f.in(t)
		snapshot, _, err := f.near.Client().Snapshot().Save(nil)
		f.must(err)
		old, err := io.ReadAll(snapshot)
		f.must(err)
		const oneMore = "y:passing " + everybody
		elsewhere(f.T, f.near, "depot", "y")
		r.until("one more", is(oneMore))
		f.must(f.near.Client().Snapshot().Restore(nil, bytes.NewReader(old)))
		t.Log(r.until("doubt", because(HeldHistory)).Err)
		r.never("while one is missing from the history", 3*time.Second, loses(5))
		elsewhere(f.T, f.near, "depot", "y") // as its agent would within a minute
		r.until("the view confirmed", is(oneMore))
		_, err = f.near.Client().Catalog().Deregister(&api.CatalogDeregistration{Node: "depot"}, nil)
		f.must(err)
		r.until("its real end", is(everybody))
		f.follows(r)
	})
	t.Run("the agent takes no more connections", f.withoutConnections)
	t.Run("an agent of instances restarts gracefully", func(t *testing.T) {
		f, r := f.in(t)
		f.says(f.far, "b", "passing") // which its agent keeps on disk
		f.must(f.Leave(t.Context(), f.far))
		r.until("its instances gone", is("z:passing "))
		f.must(f.far.Restart(t.Context()))
		back := r.until("its instances back", func(v View) bool { return len(v.Instances) == 4 })
		if got := summary(back); got != "a:critical b:passing c:critical z:passing " {
			t.Errorf("they came back as %s", got)
		}
		for _, id := range []string{"a", "b", "c"} {
			f.says(f.far, id, "passing")
		}
		r.until("everybody", is(everybody))
	})
	t.Run("everything turns critical, and everything is really deregistered", func(t *testing.T) {
		f, r := f.in(t)
		for _, id := range []string{"a", "b", "c"} {
			f.says(f.far, id, "critical")
		}
		f.says(f.third, "z", "critical")
		r.until("an explicit critical of all", is("a:critical b:critical c:critical z:critical "))
		for _, id := range []string{"a", "b", "c"} {
			f.must(f.far.Client().Agent().ServiceDeregister(id))
		}
		f.must(f.third.Client().Agent().ServiceDeregister("z"))
		r.until("nobody, confirmed", is(""))
	})
}

// withoutConnections fills the agent's limit. A watch that has its connection does
// not notice; one that needs a new one says why it holds.
func (f fleet) withoutConnections(t *testing.T) {
	f, r := f.in(t)
	release, err := f.near.Fill(t.Context())
	f.must(err)
	f.follows(r)
	late := watchReal(t, f.near, Settings{}, web)
	t.Log(late.until("the limit told", because(TooMany)).Err)
	r.hangUp()
	told := r.until("the limit told to one that was connected", because(TooMany))
	if !strings.Contains(told.Err.Error(), "http_max_conns_per_client") {
		t.Errorf("it does not say what to do: %v", told.Err)
	}
	r.never("without a connection", 2*time.Second, loses(4))
	release()
	r.until("everybody again", is(everybody))
	late.until("everybody", is(everybody))
	f.follows(r)
}

func TestConsulRightsThatAreTakenAwayInMidWatchLoseNobody(t *testing.T) {
	t.Parallel()
	f := startFleet(t, agents.Options{ACL: true})
	rights := serviceRight + "\n" + nodeRight
	acl := f.near.Client().ACL()
	for _, row := range []struct {
		promise, policy string
		take            func(policy, accessor string) error
		reason          Reason
	}{
		{"a policy that is stripped", "stripped", func(name, _ string) error {
			policy, _, err := acl.PolicyReadByName(name, nil)
			if err == nil {
				policy.Rules = ""
				_, _, err = acl.PolicyUpdate(policy, nil)
			}
			return err
		}, Filtered},
		{"a token that is deleted", "deleted", func(_, accessor string) error {
			_, err := acl.TokenDelete(accessor, nil)
			return err
		}, Forbidden},
	} {
		t.Run(row.promise, func(t *testing.T) {
			file, accessor := (&real{T: t, agent: f.near}).grant(row.policy, rights)
			r := watchReal(t, f.near, Settings{TokenFile: file}, web)
			r.until("everybody", is(everybody))
			r.must(row.take(row.policy, accessor))
			t.Log(r.until("the view held", because(row.reason)).Err)
			r.never("without rights", 3*time.Second, loses(4))
			f.says(f.far, "b", "critical") // nobody may know
			r.never("what it may not see", time.Second, func(v View) bool { return v.Reason == "" })
			f.says(f.far, "b", "passing")
		})
	}
}
