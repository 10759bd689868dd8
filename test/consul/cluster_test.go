package consul

import (
	"os"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestConsulClusterOutlivesItsLeaderAndAllOfItsServers(t *testing.T) {
	binary, err := Find(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	c, err := StartCluster(t.Context(), Options{Binary: binary, Log: t.Logf, ACL: true}, "near", "far")
	must(err)
	defer c.Stop()
	t.Logf("it is there after %s", time.Since(begun).Round(time.Millisecond))
	near, far := c.Agents[0], c.Agents[1]
	must(far.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{Name: "web", Port: 80}))
	known := func(when string, want int) {
		t.Helper()
		entries, _, err := near.Client().Health().Service("web", "", false, &api.QueryOptions{RequireConsistent: true})
		if err != nil || len(entries) != want {
			t.Errorf("%s one agent has %d instances of the other's (%v), want %d", when, len(entries), err, want)
		}
	}
	known("at first", 1)

	leader, err := c.Leader()
	must(err)
	must(leader.Kill())
	must(near.await(t.Context(), "to have another leader", near.ready))
	known("after the leader's death", 1)
	must(leader.Restart(t.Context()))

	must(c.KillServers())
	if _, err := near.Client().Status().Leader(); err == nil {
		t.Error("without servers there is a leader")
	}
	must(c.RestartServers(t.Context()))
	must(near.await(t.Context(), "to have a leader again", near.ready))
	known("after the death of all servers", 1)

	must(c.Leave(t.Context(), far))
	known("after its agent left", 0)
	must(near.Kill())
	must(near.Forget())
	must(near.Restart(t.Context()))
	must(c.Stop())
	for _, a := range c.all() {
		if _, err := os.Stat(a.Directory); !os.IsNotExist(err) {
			t.Errorf("the directory of %s is still there: %v", a.options.Node, err)
		}
	}
	t.Logf("all of it took %s", time.Since(begun).Round(time.Millisecond))
}
