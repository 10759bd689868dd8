package desired

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// FuzzMerge draws worlds from a seed and holds Merge to what must be true of
// every one of them.
func FuzzMerge(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		in := drawWorld(rng)
		earlier := drawWorld(rng)
		earlier.Now = in.Now.Add(-time.Duration(rng.IntN(200)) * time.Second)
		_, in.Before = Merge(earlier)
		state, report := Merge(in)

		shuffled := in
		shuffled.Services, shuffled.Views = shuffle(rng, in)
		if again, said := Merge(shuffled); !reflect.DeepEqual(again, state) || !reflect.DeepEqual(said, report) {
			t.Errorf("another order of the same facts gave another outcome:\n%v\n%v", state, again)
		}
		for _, s := range state.Services {
			assertSane(t, in, s)
		}
		for _, s := range report.Services {
			assertDrained(t, in, s, state)
		}
		for i, s := range in.Services {
			assertIndependent(t, in, i, s, state, report)
		}
		assertStands(t, rng, in, state, report)
	})
}

// assertStands lets time go by and one service's view change, and expects the same
// of a Merge that was told so and of one that judges all anew.
func assertStands(t *testing.T, rng *rand.Rand, in Input, state dataplane.State, report Report) {
	in.Before, in.Decided = report, state
	in.Now = in.Now.Add(time.Duration(rng.IntN(200)) * time.Second)
	changed := in.Services[rng.IntN(len(in.Services))]
	elsewhere := Input{Verdicts: map[Key]Verdict{}, Hops: map[netip.Addr]Hop{}}
	in.Views = maps.Clone(in.Views)
	view := View{Known: rng.IntN(5) > 0}
	for range rng.IntN(8) {
		view.Instances = append(view.Instances, drawInstance(rng, elsewhere, changed))
	}
	in.Views[changed.Name] = view
	wantState, wantReport := Merge(in)
	in.Heard = map[string]bool{changed.Name: true}
	gotState, gotReport := Merge(in)
	if !reflect.DeepEqual(gotState, wantState) || !reflect.DeepEqual(gotReport, wantReport) {
		t.Errorf("judging only what changed gave another outcome:\n%v\n%v\nthan judging all:\n%v\n%v", gotState, gotReport, wantState, wantReport)
	}
}

// assertSane holds what the kernel is asked to hold against the rules.
func assertSane(t *testing.T, in Input, s dataplane.Service) {
	seen := map[dataplane.ID]bool{}
	if s.Keep && len(s.Backends) > 0 {
		t.Errorf("%s is kept as it is and yet has backends", s.Name)
	}
	for _, b := range s.Backends {
		if _, text := newGuard(in).forbidden(b.Addr); text != "" {
			t.Errorf("%s got a forbidden backend: %s", s.Name, text)
		}
		if seen[b.ID] {
			t.Errorf("%s got %s twice", s.Name, b.ID)
		}
		seen[b.ID] = true
		if b.Weight > MaxWeight {
			t.Errorf("%s got %s with weight %d", s.Name, b.ID, b.Weight)
		}
		if hop := in.Hops[b.Addr]; hop.Problem != "" || hop.Hop != b.Hop {
			t.Errorf("%s got %s with a hop that cannot be used: %v", s.Name, b.ID, hop)
		}
	}
}

// assertIndependent takes all other services' facts away, though not their
// VIPs, which are forbidden addresses, and expects the same for this one.
func assertIndependent(t *testing.T, in Input, i int, s Service, state dataplane.State, report Report) {
	alone := in
	alone.Views = map[string]View{s.Name: in.Views[s.Name]}
	aloneState, aloneReport := Merge(alone)
	want, _ := report.Service(s.Name)
	got, _ := aloneReport.Service(s.Name)
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(aloneState.Services[i], state.Services[i]) {
		t.Errorf("%s has another outcome without the others:\n%v\n%v", s.Name, got, want)
	}
}

func drawWorld(rng *rand.Rand) Input {
	in := Input{
		Now:      noon,
		VIPPools: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28")},
		Views:    map[string]View{},
		Verdicts: map[Key]Verdict{},
		Hops:     map[netip.Addr]Hop{},
	}
	for n := range 1 + rng.IntN(3) {
		s := Service{
			Name:           fmt.Sprintf("s%d", n),
			VIPs:           []dataplane.VIP{vip(fmt.Sprintf("192.0.2.%d:443", 10+n*10))},
			Forward:        dataplane.Forward(1 + rng.IntN(3)),
			Slots:          251,
			Warning:        Warning(rng.IntN(3)),
			Probed:         rng.IntN(2) == 0,
			PanicThreshold: float64(rng.IntN(3)) / 2,
			DrainTimeout:   time.Duration(rng.IntN(3)) * time.Minute,
			SlowStart:      time.Duration(rng.IntN(3)) * time.Minute,
		}
		if rng.IntN(3) == 0 {
			s.AllowedBackends = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}
		}
		view := View{Known: rng.IntN(5) > 0}
		for range rng.IntN(8) {
			view.Instances = append(view.Instances, drawInstance(rng, in, s))
		}
		in.Services = append(in.Services, s)
		in.Views[s.Name] = view
		in.Overrides = append(in.Overrides, drawOverrides(rng, s)...)
	}
	return in
}

// drawInstance draws from few addresses, so that they collide, and now and then
// from those that must not be backends.
func drawInstance(rng *rand.Rand, in Input, s Service) Instance {
	odd := []string{"127.0.0.1", "::", "ff02::1", "192.0.2.10", "192.0.2.20", "fe80::1", "::ffff:10.0.0.1"}
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(rng.IntN(6))})
	if rng.IntN(4) == 0 {
		addr = netip.MustParseAddr(odd[rng.IntN(len(odd))])
	}
	i := Instance{
		Source: "consul", ID: fmt.Sprintf("i%d", rng.IntN(4)), Addr: addr, Port: 443,
		Status: Status(rng.IntN(4)), WeightPassing: rng.IntN(400) - 20, WeightWarning: rng.IntN(3),
	}
	if rng.IntN(10) == 0 {
		i.Port = 80
	}
	switch rng.IntN(5) {
	case 0:
	case 1:
		in.Hops[addr.Unmap()] = Hop{Problem: "no route"}
	default:
		in.Hops[addr.Unmap()] = reachable
	}
	if health := Health(rng.IntN(3)); health != Unknown {
		in.Verdicts[Key{s.Name, addr.Unmap(), 443}] = Verdict{health, "refused"}
	}
	return i
}

func shuffle(rng *rand.Rand, in Input) ([]Service, map[string]View) {
	services := append([]Service(nil), in.Services...)
	rng.Shuffle(len(services), func(i, j int) { services[i], services[j] = services[j], services[i] })
	views := map[string]View{}
	for name, view := range in.Views {
		instances := append([]Instance(nil), view.Instances...)
		rng.Shuffle(len(instances), func(i, j int) { instances[i], instances[j] = instances[j], instances[i] })
		views[name] = View{Known: view.Known, Instances: instances}
	}
	return services, views
}
