package consul

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// entry is a healthy instance at 10.0.0.9:80 on a node at 10.0.0.1.
func entry(changes ...func(*api.ServiceEntry)) *api.ServiceEntry {
	e := &api.ServiceEntry{
		Node: &api.Node{Node: "n1", Address: "10.0.0.1"},
		Service: &api.AgentService{
			ID: "web-1", Address: "10.0.0.9", Port: 80,
			Weights: api.AgentWeights{Passing: 1, Warning: 1},
		},
	}
	for _, change := range changes {
		change(e)
	}
	return e
}

func check(id, status string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Checks = append(e.Checks, &api.HealthCheck{CheckID: id, Name: "name of " + id, Status: status})
	}
}

func address(host string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Service.Address = host }
}

func tagged(name, host string, port int) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Service.TaggedAddresses = map[string]api.ServiceAddress{name: {Address: host, Port: port}}
	}
}

func weights(passing, warning int) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Service.Weights = api.AgentWeights{Passing: passing, Warning: warning} }
}

func named(ports ...api.ServicePort) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Service.Port, e.Service.Ports = 0, ports }
}

func TestInstanceStatus(t *testing.T) {
	const nodeDown, ttl = "serfHealth", "service:web-1"
	for _, row := range []struct {
		promise string
		entry   *api.ServiceEntry
		ignore  []string
		want    Status
	}{
		{"no checks at all is passing", entry(), nil, Passing},
		{"all passing is passing", entry(check(nodeDown, "passing"), check(ttl, "passing")), nil, Passing},
		{"one warning is warning", entry(check(nodeDown, "passing"), check(ttl, "warning")), nil, Warning},
		{"one critical is critical", entry(check(ttl, "warning"), check("b", "critical")), nil, Critical},
		{"a dead node takes its instances along", entry(check(nodeDown, "critical"), check(ttl, "passing")), nil, Critical},
		{"an unknown status is critical", entry(check(ttl, "splendid")), nil, Critical},
		{"a node in maintenance", entry(check(api.NodeMaint, "critical"), check(ttl, "passing")), nil, Maintenance},
		{"a service in maintenance", entry(check(api.ServiceMaintPrefix+"web-1", "critical")), nil, Maintenance},
		{"maintenance does not hide that a check fails", entry(check(api.NodeMaint, "critical"), check(ttl, "critical")), nil, Critical},
		{"a check can be ignored by its id", entry(check(ttl, "critical")), []string{ttl}, Passing},
		{"or by its name", entry(check(ttl, "critical")), []string{"name of " + ttl}, Passing},
		{"and the others still count", entry(check(ttl, "critical"), check(nodeDown, "warning")), []string{ttl}, Warning},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if got := instanceOf(Query{IgnoreChecks: row.ignore}, row.entry, nil).Status; got != row.want {
				t.Errorf("status is %s, want %s", got, row.want)
			}
		})
	}
}

func TestInstancePlaceAndWeight(t *testing.T) {
	names := map[string]resolved{
		"db.internal":   {addr: netip.MustParseAddr("10.1.1.1")},
		"gone.internal": {err: errors.New("no such host")},
	}
	wan := Query{TaggedAddress: "wan"}
	for _, row := range []struct {
		promise  string
		query    Query
		entry    *api.ServiceEntry
		want     string // address:port, or empty
		rejected string // a part of the reason
	}{
		{"the service's address", Query{}, entry(), "10.0.0.9:80", ""},
		{"without one the node's", Query{}, entry(address("")), "10.0.0.1:80", ""},
		{"a tagged address has its own port", wan, entry(tagged("wan", "192.0.2.1", 8080)), "192.0.2.1:8080", ""},
		{"an instance without the tagged address uses its own", wan, entry(tagged("lan", "192.0.2.1", 8080)), "10.0.0.9:80", ""},
		{"tagged addresses are not used unasked", Query{}, entry(tagged("wan", "192.0.2.1", 8080)), "10.0.0.9:80", ""},
		{"the node's tagged address stands for an empty one", wan, entry(address(""), func(e *api.ServiceEntry) {
			e.Node.TaggedAddresses = map[string]string{"wan": "192.0.2.9"}
		}), "192.0.2.9:80", ""},
		{"IPv6", Query{}, entry(address("2001:db8::9")), "[2001:db8::9]:80", ""},
		{"IPv4 in IPv6 is IPv4", Query{}, entry(address("::ffff:10.0.0.9")), "10.0.0.9:80", ""},
		{"a zone is of no use", Query{}, entry(address("fe80::1%eth0")), "", "zone"},
		{"no address anywhere", Query{}, entry(address(""), func(e *api.ServiceEntry) { e.Node.Address = "" }), "", "neither"},
		{"a name is rejected", Query{}, entry(address("db.internal")), "", "resolve = true"},
		{"unless it is to be resolved", Query{Resolve: true}, entry(address("db.internal")), "10.1.1.1:80", ""},
		{"one that does not resolve is rejected", Query{Resolve: true}, entry(address("gone.internal")), "", "no such host"},
		{"port 0 is rejected", Query{}, entry(func(e *api.ServiceEntry) { e.Service.Port = 0 }), "", "port is 0"},
		{"also a tagged address's", wan, entry(tagged("wan", "192.0.2.1", 0)), "", "port is 0"},
		{"a unix socket is named", Query{}, entry(func(e *api.ServiceEntry) { e.Service.Port, e.Service.SocketPath = 0, "/run/web" }), "", "/run/web"},
		{"a port beyond 65535 is rejected", Query{}, entry(func(e *api.ServiceEntry) { e.Service.Port = 70000 }), "", "70000"},
		{"a named port", Query{PortName: "admin"}, entry(named(api.ServicePort{Name: "http", Port: 80}, api.ServicePort{Name: "admin", Port: 81})), "10.0.0.9:81", ""},
		{"the default of named ports", Query{}, entry(named(api.ServicePort{Name: "a", Port: 80}, api.ServicePort{Name: "b", Port: 81, Default: true})), "10.0.0.9:81", ""},
		{"a named port that is not there", Query{PortName: "admin"}, entry(), "", `no port named "admin"`},
		{"a named port at a tagged address", Query{PortName: "admin", TaggedAddress: "wan"},
			entry(tagged("wan", "192.0.2.1", 8080), named(api.ServicePort{Name: "admin", Port: 81})), "192.0.2.1:81", ""},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got := instanceOf(row.query, row.entry, names)
			if row.rejected != "" {
				if !strings.Contains(got.Rejected, row.rejected) {
					t.Errorf("rejected with %q, want %q in it", got.Rejected, row.rejected)
				}
				return
			}
			if place := netip.AddrPortFrom(got.Addr, got.Port).String(); place != row.want || got.Rejected != "" {
				t.Errorf("place is %s (rejected: %q), want %s", place, got.Rejected, row.want)
			}
		})
	}
	for _, row := range []struct {
		promise                string
		passing, warning       int
		wantPassing, wantWarns int
	}{
		{"weights are taken as they are", 10, 3, 10, 3},
		{"zero is drain", 0, 0, 0, 0},
		{"a huge one is clamped", 65535, 300, 256, 256},
		{"a negative one is zero", -1, -5, 0, 0},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got := instanceOf(Query{}, entry(weights(row.passing, row.warning)), nil)
			if got.WeightPassing != row.wantPassing || got.WeightWarning != row.wantWarns {
				t.Errorf("weights are %d and %d, want %d and %d", got.WeightPassing, got.WeightWarning, row.wantPassing, row.wantWarns)
			}
		})
	}
}

func TestEqualAnswersAreEqualInAnyOrder(t *testing.T) {
	second := entry(func(e *api.ServiceEntry) { e.Service.ID = "web-2" })
	other := entry(func(e *api.ServiceEntry) { e.Node = &api.Node{Node: "n0", Address: "10.0.0.2"} })
	first, err := normalise(Query{}, []*api.ServiceEntry{entry(), second, other}, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := normalise(Query{}, []*api.ServiceEntry{second, other, entry()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range first {
		if first[i] != again[i] {
			t.Errorf("instance %d is %+v and then %+v", i, first[i], again[i])
		}
	}
	if first[0].Node != "n0" {
		t.Errorf("the first node is %s, want n0", first[0].Node)
	}
}

func TestAnAnswerWithHolesIsAnError(t *testing.T) {
	for _, broken := range []*api.ServiceEntry{nil, {}, {Node: &api.Node{}}, {Service: &api.AgentService{}}} {
		if _, err := normalise(Query{Service: "web"}, []*api.ServiceEntry{entry(), broken}, nil); reasonOf(err) != BadAnswer {
			t.Errorf("normalise of %+v: %v", broken, err)
		}
	}
}

func TestQueriesThatCannotWork(t *testing.T) {
	for problem, q := range map[string]Query{
		"is empty":           {},
		"cannot be a name":   {Service: "a/b"},
		"is never a backend": {Service: "web", TaggedAddress: "virtual"},
		"never a backend":    {Service: "web", TaggedAddress: "consul-virtual"},
	} {
		if got := q.Problem(); !strings.Contains(got, problem) {
			t.Errorf("problem of %+v is %q, want %q", q, got, problem)
		}
	}
	if got := (Query{Service: "web", TaggedAddress: "wan"}).Problem(); got != "" {
		t.Errorf("a good query has a problem: %s", got)
	}
}
