package desired

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSlowStart(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	slow := func(s *Service) { s.SlowStart = 10 * time.Second }
	join := func(pause time.Duration) *world {
		w := newWorld(consul(a)).service(slow).after(func(w *world) {
			w.Views["web"] = View{Known: true, Instances: []Instance{consul(a), consul(b)}}
			w.hop(b, reachable)
		})
		return w.later(pause)
	}
	prove(t, []row{
		{"the backends of the first view have their weight at once", newWorld(consul(a), consul(b)).service(slow), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"one that joins later begins with a part of it", join(0), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1: slow start: 9% of its weight
  kernel: 10.20.0.11=256 10.20.0.12=23
`},
		{"gets more step by step", join(5 * time.Second), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1: slow start: 54% of its weight
  kernel: 10.20.0.11=256 10.20.0.12=139
`},
		{"and has all of it in the end", join(10 * time.Second), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"so does one that recovers", newWorld(consul(a), consul(b)).service(slow).
			after(func(w *world) { w.Views["web"].Instances[1].Status = Critical }).
			after(func(w *world) { w.Views["web"].Instances[1].Status = Passing }), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1: slow start: 9% of its weight
  kernel: 10.20.0.11=256 10.20.0.12=23
`},
		{"and one whose drain ends", newWorld(consul(a), consul(b)).service(slow).drained(b, "").
			after(func(w *world) { w.Overrides = nil }), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1: slow start: 9% of its weight
  kernel: 10.20.0.11=256 10.20.0.12=23
`},
		{"other weights keep their ratio", newWorld(consul(a, weight(50)), consul(b)).service(slow).
			after(func(w *world) {
				w.Views["web"] = View{Known: true, Instances: []Instance{consul(a, weight(50)), consul(b, weight(25)), consul("10.20.0.13", weight(100))}}
				w.hop("10.20.0.13", reachable)
			}), `
web ok
  10.20.0.11 up 50
  10.20.0.12 up 25
  10.20.0.13 up 100: slow start: 9% of its weight
  kernel: 10.20.0.11=128 10.20.0.12=64 10.20.0.13=23
`},
		{"panic has no time for it", newWorld(consul(a), consul(b, status(Critical))).service(slow).
			service(func(s *Service) { s.PanicThreshold = 1 }).
			after(func(w *world) {
				w.Views["web"] = View{Known: true, Instances: []Instance{consul(a, status(Critical)), consul(b)}}
			}), `
web degraded: so few backends are well that health is ignored
  10.20.0.11 up 1: health is ignored: critical in Consul
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"a slow_start that is set later slows nobody down", newWorld(consul(a)).after(func(w *world) { w.service(slow) }), `
web ok
  10.20.0.11 up 1
  kernel: 10.20.0.11=1
`},
	})
}

// Whatever the weights and the times it is asked at, a backend's share only
// grows, and has grown by little if it was asked when it said.
func TestASlowStartOnlyGoesUp(t *testing.T) {
	const a, b = "10.20.0.11", "10.20.0.12"
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		instances := []Instance{consul(a, weight(1+rng.IntN(300))), consul(b, weight(1+rng.IntN(300)))}
		w := newWorld(instances...).service(func(s *Service) { s.SlowStart = time.Duration(1 + rng.Int64N(int64(time.Hour))) })
		w.Views["web"].Instances[1].Status = Critical
		w.after(func(w *world) { w.Views["web"].Instances[1].Status = Passing })
		share, asked := 0.0, 0
		for {
			state, report := Merge(w.Input)
			members := state.Services[0].Backends
			now := float64(members[1].Weight) / float64(members[0].Weight)
			if now < share {
				t.Fatalf("seed %d: the share fell from %f to %f, %v after the start", seed, share, now, w.Now.Sub(noon))
			}
			share, w.Before = now, report
			if report.Again().IsZero() {
				break
			}
			if w.Now = report.Again(); rng.IntN(2) == 0 { // also between the steps
				w.Now = w.Now.Add(time.Duration(rng.Int64N(int64(w.Services[0].SlowStart))/64 + 1))
			}
			asked++
		}
		full := float64(min(instances[1].WeightPassing, MaxWeight)) / float64(min(instances[0].WeightPassing, MaxWeight))
		if share != full || asked > mostSteps || w.Now.Sub(noon) < w.Services[0].SlowStart {
			t.Errorf("seed %d: after %v and %d steps the share is %f of %f", seed, w.Now.Sub(noon), asked, share, full)
		}
	}
}
