package consul

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/consul/api"
	agents "github.com/pointsman/pointsman/test/consul"
)

// A crowd of instances, of which the last flap.
const (
	crowd    = 1000
	flapping = 900
	rounds   = 10
)

// transact carries out operations, as many at a time as Consul takes.
func transact(t *testing.T, agent *agents.Agent, all api.TxnOps) {
	t.Helper()
	for some := range slices.Chunk(all, 64) {
		ok, answer, _, err := agent.Client().Txn().Txn(some, nil)
		if err != nil || !ok {
			t.Fatalf("%v %+v", err, answer)
		}
	}
}

func crowdNode(i int) string { return fmt.Sprintf("node-%02d", i%50) }

// registering are the operations that register instances, passing.
func registering(n int) (ops api.TxnOps) {
	for i := range 50 {
		ops = append(ops, &api.TxnOp{Node: &api.NodeTxnOp{Verb: api.NodeSet, Node: api.Node{Node: crowdNode(i), Address: "10.0.0.1"}}})
	}
	for i := range n {
		id := fmt.Sprintf("web-%03d", i)
		ops = append(ops,
			&api.TxnOp{Service: &api.ServiceTxnOp{Verb: api.ServiceSet, Node: crowdNode(i), Service: api.AgentService{ID: id, Service: "web", Port: 80}}},
			checking(i, api.HealthPassing))
	}
	return ops
}

func checking(i int, status string) *api.TxnOp {
	id := fmt.Sprintf("web-%03d", i)
	return &api.TxnOp{Check: &api.CheckTxnOp{Verb: api.CheckSet, Check: api.HealthCheck{
		Node: crowdNode(i), CheckID: id, Name: "alive", ServiceID: id, Status: status,
	}}}
}

func TestConsulAThousandInstancesThatFlapLoseNobodyAndEndAsTheyAre(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{})
	transact(t, agent, registering(crowd))
	r := watchReal(t, agent, Settings{}, web)
	r.until("the crowd", func(v View) bool { return len(v.Instances) == crowd })
	passing := func(v View) (n, steady int) {
		for _, in := range v.Instances {
			if in.Status == Passing {
				n++
				if in.ID < fmt.Sprintf("web-%03d", crowd-flapping) {
					steady++
				}
			}
		}
		return n, steady
	}
	wrong := func(v View) bool {
		_, steady := passing(v)
		return len(v.Instances) != crowd || steady != crowd-flapping
	}
	before := r.told.Load()
	for round := range rounds {
		status, want := api.HealthCritical, crowd-flapping
		if round%2 == 1 {
			status, want = api.HealthPassing, crowd
		}
		var ops api.TxnOps
		for i := crowd - flapping; i < crowd; i++ {
			ops = append(ops, checking(i, status))
		}
		transact(t, agent, ops)
		r.never("one who does not flap is gone", 0, wrong)
		r.until(status, func(v View) bool { n, _ := passing(v); return n == want })
	}
	views := r.told.Load() - before
	t.Logf("%d changes of checks made %d views", rounds*flapping, views)
	if views > rounds*flapping/10 {
		t.Errorf("%d changes made %d views: that is no digest", rounds*flapping, views)
	}
}
