package consul

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	agents "github.com/pointsman/pointsman/test/consul"
)

// briskPace shortens what a test would otherwise wait for.
var briskPace = pace{
	waitMin: 1500 * time.Millisecond, waitMax: 2 * time.Second, slack: 5 * time.Second,
	audit: 2 * time.Second, gap: 100 * time.Millisecond,
	firstRetry: 100 * time.Millisecond, lastRetry: 500 * time.Millisecond, lookup: time.Second,
}

// real is a watch on a real agent.
type real struct {
	*testing.T
	agent  *agents.Agent
	client *Client
	dials  atomic.Int64
	told   atomic.Int64 // views

	mu    sync.Mutex
	conns []net.Conn
	views []View
	news  chan struct{}
}

func startAgent(t *testing.T, options agents.Options) *agents.Agent {
	t.Helper()
	binary, err := agents.Find(t.Context(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	options.Binary = binary
	agent, err := agents.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := agent.Stop(); err != nil {
			t.Error(err)
		}
	})
	return agent
}

func watchReal(t *testing.T, agent *agents.Agent, s Settings, queries map[string]Query) *real {
	t.Helper()
	r := &real{T: t, agent: agent, news: make(chan struct{}, 1)}
	s.Address = or(s.Address, agent.HTTP)
	var err error
	r.client, err = open(s, environ(), func(ctx context.Context, network, address string) (net.Conn, error) {
		r.dials.Add(1)
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.conns = append(r.conns, conn)
		}
		return conn, err
	})
	if err != nil {
		t.Fatal(err)
	}
	source := NewSource(r.client, func(v View) {
		r.told.Add(1)
		r.mu.Lock()
		r.views = append(r.views, v)
		r.mu.Unlock()
		select {
		case r.news <- struct{}{}:
		default:
		}
	})
	source.pace = briskPace
	source.Set(queries)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended; r.client.Close() })
	return r
}

// hangUp breaks all connections to the agent.
func (r *real) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range r.conns {
		conn.Close()
	}
	r.conns = nil
}

// until waits for a view that ok accepts, among those since the last call.
func (r *real) until(what string, ok func(View) bool) View {
	r.Helper()
	deadline := time.NewTimer(15 * time.Second)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		for i, v := range r.views {
			if ok(v) {
				r.views = r.views[i:]
				r.mu.Unlock()
				return v
			}
		}
		r.mu.Unlock()
		select {
		case <-r.news:
		case <-deadline.C:
			r.Fatalf("waiting for %s: the views are %+v", what, r.views)
		}
	}
}

// never fails when a view within d is not ok.
func (r *real) never(what string, d time.Duration, bad func(View) bool) {
	r.Helper()
	over := time.After(d)
	for {
		r.mu.Lock()
		for _, v := range r.views {
			if bad(v) {
				r.Errorf("%s: %+v", what, v)
			}
		}
		r.views = r.views[max(0, len(r.views)-1):]
		r.mu.Unlock()
		select {
		case <-r.news:
		case <-over:
			return
		}
	}
}

func summary(v View) string {
	var s string
	for _, in := range v.Instances {
		s += in.ID + ":" + in.Status.String() + " "
	}
	return s
}

func is(want string) func(View) bool {
	return func(v View) bool { return v.Known() && v.Reason == "" && summary(v) == want }
}

func because(reason Reason) func(View) bool { return func(v View) bool { return v.Reason == reason } }

func loses(n int) func(View) bool {
	return func(v View) bool { return v.Known() && len(v.Instances) < n }
}

// register adds an instance with a TTL check that passes.
func (r *real) register(id string) {
	r.Helper()
	r.must(r.agent.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: "web", Port: 80, Address: "10.0.0.1",
		Check: &api.AgentServiceCheck{CheckID: "ttl-" + id, TTL: "10m", Status: "passing"},
	}))
}

func (r *real) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

var web = map[string]Query{"web": {Service: "web"}}

func TestConsulChecksMaintenanceAndDeregistrationAreFollowed(t *testing.T) {
	t.Parallel()
	r := watchReal(t, startAgent(t, agents.Options{}), Settings{}, web)
	agent := r.agent.Client().Agent()
	r.until("an empty catalog, confirmed", is(""))
	r.register("a")
	r.register("b")
	r.until("two instances", is("a:passing b:passing "))

	r.must(agent.UpdateTTL("ttl-a", "out of disk", "critical"))
	r.until("a critical check", is("a:critical b:passing "))
	r.must(agent.UpdateTTL("ttl-a", "", "warning"))
	r.until("a warning", is("a:warning b:passing "))
	r.must(agent.UpdateTTL("ttl-a", "", "passing"))
	r.until("passing again", is("a:passing b:passing "))

	r.must(agent.EnableNodeMaintenance("new kernel"))
	r.until("the node in maintenance", is("a:maintenance b:maintenance "))
	r.must(agent.DisableNodeMaintenance())
	r.until("the node back", is("a:passing b:passing "))
	r.must(agent.EnableServiceMaintenance("b", "new release"))
	r.until("one service in maintenance", is("a:passing b:maintenance "))
	r.must(agent.DisableServiceMaintenance("b"))
	r.until("it is back", is("a:passing b:passing "))

	r.must(agent.ServiceDeregister("a"))
	r.until("one of two gone", is("b:passing "))
	r.must(agent.ServiceDeregister("b"))
	r.until("the last one gone, confirmed", is(""))
}

func TestConsulChangesAreSeenWithinMilliseconds(t *testing.T) {
	t.Parallel()
	r := watchReal(t, startAgent(t, agents.Options{}), Settings{}, web)
	r.register("a")
	r.until("the instance", is("a:passing "))
	var took []time.Duration
	for i := range 20 {
		r.never("a quiet moment, so that the watch is waiting again", 150*time.Millisecond, loses(1))
		status := []string{"critical", "passing"}[i%2]
		start := time.Now()
		r.must(r.agent.Client().Agent().UpdateTTL("ttl-a", "", status))
		v := r.until("the change", is("a:"+status+" "))
		took = append(took, v.Answered.Sub(start))
	}
	slices.Sort(took)
	t.Logf("a change is seen after %s in the median, %s at most", took[10], took[19])
	if took[10] > 100*time.Millisecond {
		t.Errorf("the median is %s", took[10])
	}
}

func TestConsulKilledAndComeBackEmptyLosesNothing(t *testing.T) {
	t.Parallel()
	r := watchReal(t, startAgent(t, agents.Options{}), Settings{}, web)
	r.until("an empty catalog", is(""))
	for _, id := range []string{"a", "b", "c"} {
		r.register(id)
	}
	r.until("three instances", is("a:passing b:passing c:passing "))
	r.must(r.agent.Kill())
	r.until("the agent missed", because(Unreachable))
	r.never("while the agent is dead", time.Second, loses(3))
	r.must(r.agent.Restart(t.Context()))
	r.until("doubt about the empty agent", because(HeldHistory))
	r.never("while the agent is empty", 3*time.Second, loses(3))
	for _, id := range []string{"a", "b", "c"} {
		r.register(id)
		r.never("while instances come back", 0, loses(3))
	}
	r.until("all of them again", is("a:passing b:passing c:passing "))
	r.must(r.agent.Client().Agent().UpdateTTL("ttl-c", "", "critical"))
	r.until("and a change after that", is("a:passing b:passing c:critical "))
}

func TestConsulDecodesAThousandInstances(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{})
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := worker; i < 1000; i += 4 {
				_, err := agent.Client().Catalog().Register(&api.CatalogRegistration{
					Node: fmt.Sprintf("node-%d", i%50), Address: fmt.Sprintf("10.0.0.%d", i%50+1), SkipNodeUpdate: i >= 50,
					Service: &api.AgentService{Service: "web", ID: fmt.Sprintf("web-%03d", i), Port: 8000 + i, Weights: api.AgentWeights{Passing: 7, Warning: 2}},
				}, nil)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	r := watchReal(t, agent, Settings{}, web)
	v := r.until("a thousand instances", func(v View) bool { return len(v.Instances) == 1000 })
	for _, in := range v.Instances {
		if in.Rejected != "" || in.WeightPassing != 7 || in.WeightWarning != 2 || in.Status != Passing || !in.Addr.Is4() || in.Port < 8000 {
			t.Fatalf("instance %+v", in)
		}
	}
	t.Logf("read in %s", v.ConsulLatency)
}
