package desired

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// overridden lets ada want something of a backend from noon on, for an hour.
func (w *world) overridden(addr string, kind OverrideKind, weight uint16) *world {
	w.Overrides = append(w.Overrides, Override{
		Service: "web", Backend: dataplane.ID{Addr: netip.MustParseAddr(addr)}, Kind: kind, Weight: weight,
		By: "ada", Since: noon, Until: noon.Add(time.Hour),
	})
	return w
}

func TestOverrides(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	two := func() *world { return newWorld(consul(a), consul(b)) }
	prove(t, []row{
		{"who is disabled gets no packets, and nothing is wrong with the service", two().overridden(b, Disable, 0), `
web ok
  10.20.0.11 up 1
  10.20.0.12 disabled 0: disabled by ada
  kernel: 10.20.0.11=1
`},
		{"that goes before a drain", two().drained(b, "new kernel").overridden(b, Disable, 0), `
web ok
  10.20.0.11 up 1
  10.20.0.12 disabled 0: disabled by ada
  kernel: 10.20.0.11=1
`},
		{"and before what is wrong with it", newWorld(consul(a), consul(b, status(Critical))).overridden(b, Disable, 0), `
web ok
  10.20.0.11 up 1
  10.20.0.12 disabled 0: disabled by ada
  kernel: 10.20.0.11=1
`},
		{"panic does not serve by it", newWorld(consul(a, status(Critical)), consul(b)).overridden(b, Disable, 0).
			service(func(s *Service) { s.PanicThreshold = 1 }), `
web degraded: so few backends are well that health is ignored
  10.20.0.11 up 1: health is ignored: critical in Consul
  10.20.0.12 disabled 0: disabled by ada
  kernel: 10.20.0.11=1
`},
		{"a service of which all are disabled is down", newWorld(consul(b)).overridden(b, Disable, 0), `
web down: no backend is up
  10.20.0.12 disabled 0: disabled by ada
  kernel:
`},
		{"it ends by itself", two().overridden(b, Disable, 0).later(time.Hour), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"a weight is the operator's", two().overridden(b, Reweigh, 3), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 3: weight 3 by ada
  kernel: 10.20.0.11=1 10.20.0.12=3
`},
		{"within bounds", two().overridden(b, Reweigh, 3000), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 256: weight 256 by ada
  kernel: 10.20.0.11=1 10.20.0.12=256
`},
		{"also of one that Consul warns of, which is said first", newWorld(consul(a), consul(b, status(Warned))).overridden(b, Reweigh, 3), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 3: warning in Consul
  kernel: 10.20.0.11=1 10.20.0.12=3
`},
		{"it brings back nobody whom Consul drains", newWorld(consul(a), consul(b, weight(0))).overridden(b, Reweigh, 3), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drain 0: weight 0
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"nor whom an operator drains", two().overridden(b, Reweigh, 3).drained(b, ""), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drain 0: drained by ada
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"what is another service's is not this one's", two().overridden(b, Disable, 0).after(func(w *world) { w.Overrides[0].Service = "dns" }), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
	})
}
