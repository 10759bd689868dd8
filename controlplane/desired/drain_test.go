package desired

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// drained lets ada drain a backend from noon on, for an hour.
func (w *world) drained(addr, why string) *world {
	w.Overrides = append(w.Overrides, Override{
		Service: "web", Backend: dataplane.ID{Addr: netip.MustParseAddr(addr)}, Kind: Drain,
		Reason: why, By: "ada", Since: noon, Until: noon.Add(time.Hour),
	})
	return w
}

// later lets the world's outcome so far be what came before, some time ago.
func (w *world) later(pause time.Duration) *world {
	return w.after(func(w *world) { w.Now = w.Now.Add(pause) })
}

func TestDrain(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	flapped := newWorld(consul(a), consul(b)).drained(b, "").later(9 * time.Minute)
	flapped.Views["web"].Instances[1].Status = Critical
	flapped.later(30 * time.Second)
	flapped.Views["web"].Instances[1].Status = Passing
	prove(t, []row{
		{"an operator's drain takes the slots and leaves the entry", newWorld(consul(a), consul(b)).drained(b, "new kernel"), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drain 0: drained by ada: new kernel
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"until drain_timeout is over, which cuts what is left", newWorld(consul(a), consul(b)).drained(b, "").later(10 * time.Minute), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: drained by ada; its flows were cut after 10m0s
  kernel: 10.20.0.11=1
`},
		{"and not a moment earlier", newWorld(consul(a), consul(b)).drained(b, "").later(10*time.Minute - 1), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drain 0: drained by ada
  kernel: 10.20.0.11=1 10.20.0.12=0
`},
		{"a drain_timeout of 0 cuts at once", newWorld(consul(a), consul(b)).drained(b, "").service(func(s *Service) { s.DrainTimeout = 0 }), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: drained by ada; its flows were cut after 0s
  kernel: 10.20.0.11=1
`},
		{"maintenance is cut like any drain", newWorld(consul(a), consul(b, status(Maintenance))).later(10 * time.Minute), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: in maintenance in Consul; its flows were cut after 10m0s
  kernel: 10.20.0.11=1
`},
		{"so is weight 0", newWorld(consul(a), consul(b, weight(0))).later(10 * time.Minute), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: weight 0; its flows were cut after 10m0s
  kernel: 10.20.0.11=1
`},
		{"a daemon that starts again goes by when the operator spoke", newWorld(consul(a), consul(b)).drained(b, "").
			after(func(w *world) { w.Now, w.Before = noon.Add(11*time.Minute), Report{} }), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: drained by ada; its flows were cut after 10m0s
  kernel: 10.20.0.11=1
`},
		{"the wish of an operator ends by itself", newWorld(consul(a), consul(b)).drained(b, "").later(time.Hour), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"a second reason to drain does not begin the drain anew", newWorld(consul(a), consul(b, status(Maintenance))).
			after(func(w *world) { w.Now = noon.Add(9 * time.Minute); w.drained(b, ""); w.Overrides[0].Since = w.Now }).
			later(time.Minute), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: drained by ada; its flows were cut after 10m0s
  kernel: 10.20.0.11=1
`},
		{"nor does an illness in between", flapped.later(30 * time.Second), `
web ok
  10.20.0.11 up 1
  10.20.0.12 drained 0: drained by ada; its flows were cut after 10m0s
  kernel: 10.20.0.11=1
`},
		{"panic does not serve by what an operator drains", newWorld(consul(a, status(Critical)), consul(b, status(Critical))).drained(b, "").
			service(func(s *Service) { s.PanicThreshold = 1 }), `
web degraded: so few backends are well that health is ignored
  10.20.0.11 up 1: health is ignored: critical in Consul
  10.20.0.12 down 0: critical in Consul
  kernel: 10.20.0.11=1
`},
	})
}

func TestMergeSaysWhenToBeAskedAgain(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	joined := newWorld(consul(a)).service(func(s *Service) { s.SlowStart = 10 * time.Second })
	joined.after(func(w *world) {
		w.Views["web"] = View{Known: true, Instances: []Instance{consul(a), consul(b)}}
		w.hop(b, reachable)
	})
	for _, row := range []struct {
		promise string
		world   *world
		want    time.Duration // after noon; 0 is never
	}{
		{"never where nothing depends on time", newWorld(consul(a), consul(b)), 0},
		{"when a drain's time is over", newWorld(consul(a), consul(b)).drained(b, ""), 10 * time.Minute},
		{"and then when the operator's wish is", newWorld(consul(a), consul(b)).drained(b, "").later(11 * time.Minute), time.Hour},
		{"when a backend is enabled again", newWorld(consul(a), consul(b)).overridden(b, Disable, 0), time.Hour},
		{"and not when its drain would be over meanwhile", newWorld(consul(a), consul(b)).drained(b, "").overridden(b, Disable, 0), time.Hour},
		{"when a weight is what it was", newWorld(consul(a), consul(b)).overridden(b, Reweigh, 7), time.Hour},
		{"never if what is cut is in maintenance", newWorld(consul(a, status(Maintenance))).later(11 * time.Minute), 0},
		{"at the next step of a slow start", joined, time.Second},
	} {
		t.Run(row.promise, func(t *testing.T) {
			_, report := Merge(row.world.Input)
			want := time.Time{}
			if row.want != 0 {
				want = noon.Add(row.want)
			}
			if got := report.Again(); !got.Equal(want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// assertDrained holds that no drain gives weight, and that the kernel forgets a
// draining backend only when its time is over.
func assertDrained(t *testing.T, in Input, said ServiceReport, state dataplane.State) {
	weights := map[dataplane.ID]int{}
	ready := false
	for _, s := range state.Services {
		if s.Name == said.Name {
			ready = !s.Keep
			for _, b := range s.Backends {
				weights[b.ID] = int(b.Weight)
			}
		}
	}
	for _, b := range said.Backends {
		if b.Draining == nil {
			continue
		}
		weight, known := weights[b.Key]
		if weight != 0 || b.Weight != 0 || b.State == BackendUp {
			t.Errorf("%s drains and has weight %d as %s: %+v", b.Key, weight, b.State, b)
		}
		over := !in.Now.Before(b.Draining.Cut)
		if drains := b.State == BackendDrain; ready && (drains != known || drains && over) || b.State == BackendDrained && !over {
			t.Errorf("%s is %s and known: %v, %v before its drain is over", b.Key, b.State, known, b.Draining.Cut.Sub(in.Now))
		}
	}
	if again := said.Again; !again.IsZero() && !again.After(in.Now) {
		t.Errorf("%s wants to be judged again at %v, which is not after %v", said.Name, again, in.Now)
	}
}

func drawOverrides(rng *rand.Rand, s Service) []Override {
	var all []Override
	for n := range byte(6) {
		for _, kind := range []OverrideKind{Drain, Disable, Reweigh} {
			if rng.IntN(5) == 0 {
				since := noon.Add(-time.Duration(rng.IntN(200)) * time.Second)
				all = append(all, Override{
					Service: s.Name, Backend: dataplane.ID{Addr: netip.AddrFrom4([4]byte{10, 0, 0, n})}, Kind: kind,
					Weight: uint16(rng.IntN(2 * MaxWeight)), By: "ada", Since: since, Until: since.Add(time.Duration(1+rng.IntN(300)) * time.Second),
				})
			}
		}
	}
	return all
}
