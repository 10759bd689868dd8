package stories

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/lab"
)

// discovered takes its backends from Consul: backend-1 and backend-2 are
// registered with the agent's own node, backend-3 with a node of its own.
const discovered = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  consul { allowed_backends = ["198.51.100.0/24"] }
}`

const otherNode = "depot"

// openDiscovered is the stage with a real agent, and the service up.
func openDiscovered(t *testing.T) *stage {
	t.Helper()
	s := open(t, lab.Options{Backends: 3}, 1)
	s.must(s.StartConsul(t.Context(), t.Logf))
	s.registerAll()
	s.begin(discovered)
	s.awaitBackends("web", allUp...)
	return s
}

var allUp = []string{"backend-1 up", "backend-2 up", "backend-3 up"}

func (s *stage) agent() *api.Agent { return s.Consul.Client().Agent() }

func (s *stage) registerAll() {
	s.t.Helper()
	s.register(1, 1)
	s.register(2, 2)
	s.registerElsewhere(3, api.HealthPassing)
}

// register registers a backend of web with the agent, under its own name and
// with a TTL check that passes.
func (s *stage) register(n, weight int) {
	s.t.Helper()
	h := s.backend(n)
	s.must(s.agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: h.Name, Name: "web", Address: h.Addr4.String(), Port: 80,
		Weights: &api.AgentWeights{Passing: weight, Warning: 1},
		Check:   &api.AgentServiceCheck{CheckID: h.Name, TTL: "10m", Status: api.HealthPassing},
	}))
}

// registerElsewhere registers a backend of web with another node, as that
// node's agent would.
func (s *stage) registerElsewhere(n int, status string) {
	s.t.Helper()
	h := s.backend(n)
	_, err := s.Consul.Client().Catalog().Register(&api.CatalogRegistration{
		Node: otherNode, Address: h.Addr4.String(),
		Service: &api.AgentService{ID: h.Name, Service: "web", Address: h.Addr4.String(), Port: 80, Weights: api.AgentWeights{Passing: 1, Warning: 1}},
		Check:   &api.AgentCheck{Node: otherNode, CheckID: h.Name, Name: "alive", ServiceID: h.Name, Status: status},
	}, nil)
	s.must(err)
}

func (s *stage) deregisterElsewhere() {
	s.t.Helper()
	_, err := s.Consul.Client().Catalog().Deregister(&api.CatalogDeregistration{Node: otherNode}, nil)
	s.must(err)
}

func TestPrivilegedWhatConsulSaysOfABackendIsDone(t *testing.T) {
	s := openDiscovered(t)
	for _, row := range []struct {
		promise  string
		do, undo func(*stage)
		then     []string
		want     weights
		dead     string // whose flows break; all others keep theirs
	}{
		{"a TTL check that turns critical takes it out",
			func(s *stage) { s.must(s.agent().UpdateTTL("backend-2", "", api.HealthCritical)) },
			func(s *stage) { s.must(s.agent().UpdateTTL("backend-2", "", api.HealthPassing)) },
			[]string{"backend-1 up", "backend-2 down critical in Consul", "backend-3 up"}, survivors, "backend-2"},
		{"a TTL check that warns gives it its weight for that",
			func(s *stage) { s.must(s.agent().UpdateTTL("backend-2", "", api.HealthWarning)) },
			func(s *stage) { s.must(s.agent().UpdateTTL("backend-2", "", api.HealthPassing)) },
			[]string{"backend-1 up", "backend-2 up warning in Consul", "backend-3 up"}, weights{"backend-1": 1, "backend-2": 1, "backend-3": 1}, ""},
		{"a service that is deregistered is no backend any more",
			func(s *stage) { s.must(s.agent().ServiceDeregister("backend-2")) },
			func(s *stage) { s.register(2, 2) },
			[]string{"backend-1 up", "backend-3 up"}, survivors, "backend-2"},
		{"maintenance of a service drains it",
			func(s *stage) { s.must(s.agent().EnableServiceMaintenance("backend-2", "new brakes")) },
			func(s *stage) { s.must(s.agent().DisableServiceMaintenance("backend-2")) },
			[]string{"backend-1 up", "backend-2 drain maintenance in Consul", "backend-3 up"}, survivors, ""},
		{"maintenance of a node drains all that is on it",
			func(s *stage) { s.must(s.agent().EnableNodeMaintenance("new rails")) },
			func(s *stage) { s.must(s.agent().DisableNodeMaintenance()) },
			[]string{"backend-1 drain maintenance in Consul", "backend-2 drain maintenance in Consul", "backend-3 up"}, weights{"backend-3": 1}, ""},
		{"a node that is gone takes its backends along",
			func(s *stage) { s.deregisterElsewhere() },
			func(s *stage) { s.registerElsewhere(3, api.HealthPassing) },
			[]string{"backend-1 up", "backend-2 up"}, weights{"backend-1": 1, "backend-2": 2}, "backend-3"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			asking := s.keepAsking(webVIPs...)
			row.do(s)
			s.awaitBackends("web", row.then...)
			var losses []window
			if row.dead != "" {
				losses = append(losses, s.changing(row.dead))
			}
			asking.join()
			for _, vip := range webVIPs {
				s.spread(vip, row.want)
			}
			row.undo(s)
			s.awaitBackends("web", allUp...)
			for _, vip := range webVIPs {
				s.spread(vip, everyone)
			}
			s.lostOnlyIn(asking.finish(), losses...)
		})
	}
}

func TestPrivilegedABackendThatDiesIsOutOnceConsulKnows(t *testing.T) {
	s := openDiscovered(t)
	asking := s.keepAsking(webVIPs...)
	died := time.Now()
	s.backend(2).Kill()
	s.must(s.agent().UpdateTTL("backend-2", "", api.HealthCritical))
	said := time.Now()
	s.awaitBackends("web", "backend-1 up", "backend-2 down critical in Consul", "backend-3 up")
	outage := s.until(died, "backend-2")
	answers := asking.finish()
	s.lostOnlyIn(answers, outage)
	if took := outage.to.Sub(said); took > time.Second {
		t.Errorf("Consul knew %v before the tables did", took)
	}
	t.Logf("the tables knew %v after Consul did", outage.to.Sub(said))
}

func TestPrivilegedAServiceThatIsGoneFromConsulIsEmptiedAfterASecondLook(t *testing.T) {
	s := openDiscovered(t)
	s.deregisterElsewhere()
	s.must(s.agent().ServiceDeregister("backend-1"))
	s.must(s.agent().ServiceDeregister("backend-2"))
	s.awaitBackends("web")
	s.awaitWarning("service web is down: it has no backends")
	s.noneAnswered("http 192.0.2.1:80")

	s.registerAll()
	s.awaitBackends("web", allUp...)
	for _, vip := range webVIPs {
		s.spread(vip, everyone)
	}
}

func TestPrivilegedWhenTheAgentIsKilledThePoolIsHeldAndTrafficGoesOn(t *testing.T) {
	s := openDiscovered(t)
	asking := s.keepAsking(webVIPs...)
	slots, applied := s.slots("web"), s.status().LastApply.At
	held := func(when string) {
		t.Helper()
		s.must(s.compare("web", allUp))
		if got := s.slots("web"); fmt.Sprint(got) != fmt.Sprint(slots) || !s.status().LastApply.At.Equal(applied) {
			t.Errorf("%s the slots are %v, and were %v", when, got, slots)
		}
		for _, vip := range webVIPs {
			s.spread(vip, everyone)
		}
	}
	s.must(s.Consul.Kill())
	s.awaitWarning("Consul's view of service web is held")
	held("without an agent")

	// An agent in memory comes back knowing nothing, which is no evidence.
	s.must(s.Consul.Restart(t.Context()))
	s.await("Consul is asked again", func() error {
		now, err := s.Status(t.Context())
		if err == nil && now.Consul.Held["web"] == "unreachable" {
			err = errors.New("it is still unreachable")
		}
		return err
	})
	held("with an agent that knows nothing")

	s.registerAll()
	s.await("Consul's view is confirmed", func() error {
		now, err := s.Status(t.Context())
		if err == nil && now.Consul.State != "ok" {
			err = fmt.Errorf("Consul is %s, holding %v", now.Consul.State, now.Consul.Held)
		}
		return err
	})
	held("with the agent back")

	t.Run("and what it says then is done", func(t *testing.T) {
		s := s.in(t)
		s.must(s.agent().UpdateTTL("backend-2", "", api.HealthCritical))
		s.awaitBackends("web", "backend-1 up", "backend-2 down critical in Consul", "backend-3 up")
		s.spread("http 192.0.2.1:80", survivors)
	})
	s.lostOnlyIn(asking.finish(), s.changing("backend-2"))
}
