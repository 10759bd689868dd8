package desired

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is an input under construction: service web on 192.0.2.10:443, every
// address reachable, every backend probed and well unless a test says otherwise.
type world struct{ Input }

func newWorld(instances ...Instance) *world {
	w := &world{Input{
		Now:      noon,
		Services: []Service{web()},
		VIPPools: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		Ingress:  []uint32{2},
		Views:    map[string]View{"web": {Known: true, Instances: instances}},
		Verdicts: map[Key]Verdict{},
		Hops:     map[netip.Addr]Hop{},
	}}
	for _, i := range instances {
		if i.Addr.IsValid() {
			w.Hops[i.Addr.Unmap()] = reachable
		}
	}
	return w
}

func web() Service {
	return Service{
		Name:         "web",
		VIPs:         []dataplane.VIP{vip("192.0.2.10:443")},
		Forward:      dataplane.IPIP,
		Slots:        65537,
		DrainTimeout: 10 * time.Minute,
	}
}

func vip(text string) dataplane.VIP {
	at := netip.MustParseAddrPort(text)
	return dataplane.VIP{Addr: at.Addr(), Port: at.Port(), Protocol: dataplane.TCP}
}

var reachable = Hop{Hop: dataplane.Hop{Interface: 2, NextHopMAC: [6]byte{2, 0, 0, 0, 0, 1}, MTU: 1500}}

// consul is a passing instance with weight 1 on the VIP's port.
func consul(addr string, change ...func(*Instance)) Instance {
	i := Instance{Source: "consul", ID: "web-" + addr, Addr: netip.MustParseAddr(addr), Port: 443,
		Status: Passing, WeightPassing: 1, WeightWarning: 1}
	for _, c := range change {
		c(&i)
	}
	return i
}

func status(s Status) func(*Instance)            { return func(i *Instance) { i.Status = s } }
func weight(n int) func(*Instance)               { return func(i *Instance) { i.WeightPassing = n } }
func weightWarning(n int) func(*Instance)        { return func(i *Instance) { i.WeightWarning = n } }
func port(n uint16) func(*Instance)              { return func(i *Instance) { i.Port = n } }
func id(text string) func(*Instance)             { return func(i *Instance) { i.ID = text } }
func rejected(text string) func(*Instance)       { return func(i *Instance) { i.Rejected = text } }
func (w *world) service(f func(*Service)) *world { f(&w.Services[0]); return w }
func (w *world) hop(addr string, h Hop) *world   { w.Hops[netip.MustParseAddr(addr)] = h; return w }
func (w *world) lost(addr string) *world         { delete(w.Hops, netip.MustParseAddr(addr)); return w }
func (w *world) probe(addr string, h Health, reason string) *world {
	w.Services[0].Probed = true
	w.Verdicts[Key{"web", netip.MustParseAddr(addr), 443}] = Verdict{h, reason}
	return w
}

// beside adds a service admin on a VIP, without backends.
func (w *world) beside(text string) *world {
	admin := web()
	admin.Name, admin.VIPs = "admin", []dataplane.VIP{vip(text)}
	w.Services = append(w.Services, admin)
	w.Views["admin"] = View{Known: true}
	return w
}

// after lets the world's outcome so far be what came before.
func (w *world) after(f func(*world)) *world {
	_, w.Before = Merge(w.Input)
	f(w)
	return w
}

// outcome is what a test states: the service, its backends, and what the
// kernel is to hold as "address=weight".
func outcome(in Input) string {
	state, report := Merge(in)
	var b strings.Builder
	for i, s := range report.Services {
		fmt.Fprintf(&b, "%s %s", s.Name, s.State)
		if s.Reason != "" {
			fmt.Fprintf(&b, ": %s", s.Reason)
		}
		for _, r := range s.Backends {
			fmt.Fprintf(&b, "\n  %s %s %d", r.Addr, r.State, r.Weight)
			if r.Reason != "" {
				fmt.Fprintf(&b, ": %s", r.Reason)
			}
		}
		b.WriteString("\n  kernel:")
		if state.Services[i].Keep {
			b.WriteString(" as it is")
		}
		for _, m := range state.Services[i].Backends {
			fmt.Fprintf(&b, " %s=%d", m.ID, m.Weight)
		}
		b.WriteString("\n")
	}
	return b.String()
}

type row struct {
	promise string
	world   *world
	want    string
}

func prove(t *testing.T, rows []row) {
	for _, r := range rows {
		t.Run(r.promise, func(t *testing.T) {
			want := strings.ReplaceAll(strings.TrimLeft(r.want, "\n"), "\t", "")
			if got := outcome(r.world.Input); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	prove(t, []row{
		{"what Consul passes serves", newWorld(consul(a), consul(b)), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"an explicit critical is out at once", newWorld(consul(a), consul(b, status(Critical))), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.12 down 0: critical in Consul
  kernel: 10.20.0.11=1
`},
		{"also if it is the last one", newWorld(consul(a, status(Critical))), `
web down: no backend is up
  10.20.0.11 down 0: critical in Consul
  kernel:
`},
		{"maintenance is weight 0: known to the kernel, without slots", newWorld(consul(a), consul(b, status(Maintenance))), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drain 0: in maintenance in Consul
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"a warning backend serves with its warning weight", newWorld(consul(a, weight(4)), consul(b, weight(4), weightWarning(2), status(Warned))), `
web ok
  10.20.0.11 up 4
  10.20.0.12 up 2: warning in Consul
  kernel: 10.20.0.11=2 10.20.0.12=1
`},
		{"or not at all, where warning drops", newWorld(consul(a), consul(b, status(Warned))).
			service(func(s *Service) { s.Warning = WarningDrop }), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.12 down 0: warning in Consul
  kernel: 10.20.0.11=1
`},
		{"or as if it passed, where warning is as-passing", newWorld(consul(a, weight(4), weightWarning(0), status(Warned))).
			service(func(s *Service) { s.Warning = WarningAsPassing }), `
web ok
  10.20.0.11 up 4: warning in Consul
  kernel: 10.20.0.11=1
`},
		{"a warning weight of 0 drains", newWorld(consul(a), consul(b, weightWarning(0), status(Warned))), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drain 0: weight 0 while warning in Consul
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"the probes can overrule Consul", newWorld(consul(a), consul(b)).probe(a, Well, "").probe(b, Ill, "connection refused"), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.12 down 0: probe: connection refused
  kernel: 10.20.0.11=1
`},
		{"and Consul the probes, since both must agree", newWorld(consul(a), consul(b, status(Critical))).probe(a, Well, "").probe(b, Well, ""), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.12 down 0: critical in Consul
  kernel: 10.20.0.11=1
`},
		{"a new backend serves after its first probe, not before", newWorld(consul(a), consul(b)).probe(a, Well, "").lost(b).
			after(func(w *world) { w.Before.Services[0].Ready = true; w.hop(b, reachable) }), `
web ok
  10.20.0.11 up 1
  10.20.0.12 unknown 0: not probed yet
  kernel: 10.20.0.11=1
`},
		{"what served goes on serving when a reload forgets its verdict", newWorld(consul(a)).
			after(func(w *world) { w.probe(a, Unknown, "") }), `
web ok
  10.20.0.11 up 1: not probed again yet, serves as before
  kernel: 10.20.0.11=1
`},
		{"health counts where enough are well", newWorld(consul(a), consul(b, status(Critical))).
			service(func(s *Service) { s.PanicThreshold = 0.5 }), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.12 down 0: critical in Consul
  kernel: 10.20.0.11=1
`},
		{"below panic_threshold health is ignored", newWorld(consul(a), consul(b, status(Critical))).
			service(func(s *Service) { s.PanicThreshold = 0.6 }), `
web degraded: so few backends are well that health is ignored
  10.20.0.11 up 1
  10.20.0.12 up 1: health is ignored: critical in Consul
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"but maintenance and lost hops are not", newWorld(consul(a, status(Critical)), consul(b, status(Maintenance)), consul("10.20.0.13", status(Critical))).
			service(func(s *Service) { s.PanicThreshold = 0.6 }).hop(a, Hop{Problem: "no route"}), `
web degraded: so few backends are well that health is ignored
  10.20.0.11 down 0: critical in Consul
  10.20.0.12 drain 0: in maintenance in Consul
  10.20.0.13 up 1: health is ignored: critical in Consul
  kernel: 10.20.0.12=0 10.20.0.13=1
`},
	})
}

func TestWeights(t *testing.T) {
	const a, b, c = "10.20.0.11", "10.20.0.12", "10.20.0.13"
	prove(t, []row{
		{"weights are clamped to 256 and below at 0", newWorld(consul(a, weight(1000)), consul(b, weight(-3))), `
web ok
  10.20.0.11 up 256
  10.20.0.12 drain 0: weight 0
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"the kernel gets them divided by what they have in common", newWorld(consul(a, weight(100)), consul(b, weight(150))), `
web ok
  10.20.0.11 up 100
  10.20.0.12 up 150
  kernel: 10.20.0.11=2 10.20.0.12=3
`},
		{"a death does not rescale the living", newWorld(consul(a, weight(100)), consul(b, weight(200)), consul(c, weight(25), status(Critical))), `
web degraded: 1 of 3 backends not up
  10.20.0.11 up 100
  10.20.0.12 up 200
  10.20.0.13 down 0: critical in Consul
  kernel: 10.20.0.11=4 10.20.0.12=8
`},
		{"nor does a drain", newWorld(consul(a, weight(100)), consul(b, weight(200)), consul(c, weight(25))).drained(c, ""), `
web ok
  10.20.0.11 up 100
  10.20.0.12 up 200
  10.20.0.13 drain 0: drained by ada
  kernel: 10.20.0.11=4 10.20.0.12=8 10.20.0.13=0
`},
	})
}

func TestWayToBackends(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	gateway := reachable
	gateway.Gateway = netip.MustParseAddr("10.20.0.1")
	prove(t, []row{
		{"a backend without a next hop gets no slots and says so", newWorld(consul(a), consul(b)).hop(b, Hop{Problem: "no neighbour entry on eth0"}), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.12 unresolved 0: no neighbour entry on eth0
  kernel: 10.20.0.11=1
`},
		{"ipip reaches backends behind a gateway", newWorld(consul(a)).hop(a, gateway), `
web ok
  10.20.0.11 up 1
  kernel: 10.20.0.11=1
`},
		{"l2 does not", newWorld(consul(a)).hop(a, gateway).service(func(s *Service) { s.Forward = dataplane.L2 }), `
web down: no backend is up
  10.20.0.11 unresolved 0: is behind gateway 10.20.0.1, and l2 reaches only its own segment
  kernel:
`},
	})
}

func TestFirstView(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	unknown := newWorld(consul(a))
	unknown.Views = nil
	forgotten := newWorld(consul(a)).after(func(w *world) { w.Views = nil })
	restarted := newWorld(consul(a))
	restarted.Views, restarted.Held = nil, map[string]bool{"web": true}
	unheard := newWorld()
	unheard.Views["web"] = View{Known: true, Nobody: `Consul knows no instance of "wbe"`}
	prove(t, []row{
		{"a service nobody answered for is left as the kernel holds it", unknown, `
web waiting: waiting for Consul's first answer
  kernel: as it is
`},
		{"and says so where it holds something", restarted, `
web waiting: forwards by the tables as they were; waiting for Consul's first answer
  kernel: as it is
`},
		{"so is one whose first probes are not over", newWorld(consul(a), consul(b)).probe(a, Well, ""), `
web waiting: waiting for the first probe of 1 backend
  10.20.0.11 up 1
  10.20.0.12 unknown 0: not probed yet
  kernel: as it is
`},
		{"and one whose next hops were not looked up", newWorld(consul(a), consul(b)).lost(a).lost(b), `
web waiting: waiting for the next hop of 2 backends
  10.20.0.11 unknown 0: its next hop is being looked up
  10.20.0.12 unknown 0: its next hop is being looked up
  kernel: as it is
`},
		{"a reload that asks Consul something else waits again", forgotten, `
web waiting: waiting for Consul's first answer
  kernel: as it is
`},
		{"an answer that nobody is there is an answer", newWorld(), `
web down: it has no backends
  kernel:
`},
		{"and where the source knows why nobody is, the reason does", unheard, `
web down: it has no backends: Consul knows no instance of "wbe"
  kernel:
`},
	})
}

func TestSinceIsWhenTheStateBegan(t *testing.T) {
	w := newWorld(consul("10.20.0.11"), consul("10.20.0.12"))
	_, w.Before = Merge(w.Input)
	w.Now = noon.Add(time.Minute)
	w.Views["web"].Instances[1].Status = Critical
	_, report := Merge(w.Input)
	s, _ := report.Service("web")
	if got := s.Backends[0].Since; got != noon {
		t.Errorf("a backend that stays up is up since %v, want %v", got, noon)
	}
	if got := s.Backends[1].Since; got != w.Now {
		t.Errorf("a backend that went down is down since %v, want %v", got, w.Now)
	}
	if s.State != Degraded || s.Since != w.Now {
		t.Errorf("the service is %s since %v, want degraded since %v", s.State, s.Since, w.Now)
	}
}

func TestCandidatesAreWorthAProbe(t *testing.T) {
	w := newWorld(consul("10.20.0.11", status(Critical)), consul("127.0.0.1"), consul("10.20.0.12", port(80)))
	w.Services[0].ProbePort = 8080
	got := Candidates(w.Input)
	want := []Candidate{{Key{"web", netip.MustParseAddr("10.20.0.11"), 8080}, netip.MustParseAddr("10.20.0.11")}}
	if !slices.Equal(got, want) {
		t.Errorf("the down one is probed to see it recover, the forbidden are left alone: got %v, want %v", got, want)
	}
}
