package dataplane_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func BenchmarkDiff(b *testing.B) {
	b.Run("one backend of 1000 removed, to the last slot in memory", func(b *testing.B) {
		state := crowd(1, 1000, 65537)
		have := settled(b, state)
		for i := 0; b.Loop(); i++ {
			all := state.Services[0].Backends
			want := state
			if i%2 == 0 {
				want = State{Services: []Service{state.Services[0]}}
				want.Services[0].Backends = append(append([]Backend(nil), all[:500]...), all[501:]...)
			}
			bring(b, have, want)
		}
		perDiff(b)
	})
	b.Run("one backend added to 1000, to the last slot and its phase in memory", func(b *testing.B) {
		more := crowd(1, 1001, 65537)
		fewer := State{Services: slices.Clone(more.Services)}
		fewer.Services[0].Backends = more.Services[0].Backends[:1000]
		have := settled(b, fewer)
		for b.Loop() {
			bring(b, have, more)
			b.StopTimer()
			bring(b, have, fewer)
			settle(have, 100_000)
			b.StartTimer()
		}
		perDiff(b)
	})
	b.Run("one backend removed from 1001 while all slots move", func(b *testing.B) {
		more, fewer := crowd(1, 1001, 65537), crowd(1, 1000, 65537)
		have := settled(b, more)
		for b.Loop() {
			b.StopTimer()
			bring(b, have, more)
			for slot := range uint32(65537) {
				have.Conditions.Put(slot, TCP, Condition{Phase: Moving, Fallback: 1 + (have.Slots[slot])%1000})
			}
			b.StartTimer()
			bring(b, have, fewer)
		}
		perDiff(b)
	})
	b.Run("1000 services of 100 backends, nothing changed", func(b *testing.B) {
		state := crowd(1000, 100, 251)
		have := settled(b, state)
		for b.Loop() {
			if steps, _ := Diff(have, state); len(steps) > 0 {
				b.Fatal(steps)
			}
		}
		perDiff(b)
	})
	b.Run("1000 services of 100 backends, one removed and back", func(b *testing.B) {
		state := crowd(1000, 100, 251)
		have := settled(b, state)
		all := state.Services[500].Backends
		for i := 0; b.Loop(); i++ {
			state.Services[500].Backends = all[i%2:]
			bring(b, have, state)
		}
		perDiff(b)
	})
	b.Run("1000 services of 100 backends, in another order than their indexes", func(b *testing.B) {
		state := crowd(1000, 100, 251)
		have := settled(b, state)
		for i := range state.Services {
			backends := state.Services[i].Backends
			backends[0], backends[99] = backends[99], backends[0]
		}
		for b.Loop() {
			if steps, _ := Diff(have, state); len(steps) > 0 {
				b.Fatal(steps)
			}
		}
		perDiff(b)
	})
	b.Run("cold start with 1000 services of 100 backends and 65537 slots", func(b *testing.B) {
		state := crowd(1000, 100, 65537)
		have := NewTables(Limits{Services: 1001, VIPs: 1001, Backends: 110_000}, 1001*65537)
		for b.Loop() {
			bring(b, have, state)
			b.StopTimer()
			bring(b, have, State{})
			release(have)
			b.StartTimer()
		}
		perDiff(b)
	})
}

// settle lets time pass in memory.
func settle(have *Tables, second uint32) {
	for _, step := range Settle(have, second) {
		step.Replay(have)
	}
}

func BenchmarkSettle(b *testing.B) {
	state := crowd(1, 1000, 65537)
	have := settled(b, state)
	state.Services[0].Backends[500].Weight = 2
	bring(b, have, state)
	for b.Loop() {
		if steps := Settle(have, 1); len(steps) > 0 {
			b.Fatal(steps)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/settle")
}

func BenchmarkSweep(b *testing.B) {
	const backends = 1000
	for _, row := range []struct {
		name  string
		named uint32 // how many of the backends flows name
	}{{"1 M flows, all alive", backends}, {"an empty table of 1 M", 0}} {
		b.Run(row.name, func(b *testing.B) {
			entries := make(map[uint32]BackendEntry)
			flows := make(Flows, 1<<20)
			for place := range flows {
				if row.named > 0 {
					flows[place] = uint64(MakeFlow(uint64(place), 1+uint32(place)*7919%row.named, false, 100))
				}
			}
			for index := range uint32(backends) {
				entries[1+index] = BackendEntry{}
			}
			for b.Loop() {
				census := flows.Sweep(50, func(index uint32) bool {
					entry, known := entries[index]
					return known && !entry.Dead
				})
				if row.named > 0 && census.Flows != len(flows) {
					b.Fatal(census)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/sweep")
		})
	}
}

func perDiff(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/diff")
}

// bring applies a Diff in memory.
func bring(t testing.TB, have *Tables, want State) {
	t.Helper()
	steps, problems := Diff(have, want)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, step := range steps {
		step.Replay(have)
	}
}

// settled returns tables that hold the state.
func settled(t testing.TB, state State) *Tables {
	t.Helper()
	slots := uint32(0)
	for _, s := range state.Services {
		slots += s.Slots
	}
	have := NewTables(Limits{Services: 2000, VIPs: 2000, Backends: 200_000}, 2*slots)
	bring(t, have, state)
	return have
}

// crowd is a state of many services, each with a VIP and as many backends.
func crowd(services, backends int, slots uint32) State {
	var state State
	for i := range services {
		s := Service{
			Name:  fmt.Sprintf("service-%04d", i),
			VIPs:  []VIP{{Addr: netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), Port: 80, Protocol: TCP}},
			Slots: slots,
		}
		for j := range backends {
			s.Backends = append(s.Backends, Backend{
				ID:      ID{Addr: netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)})},
				Weight:  1,
				Forward: IPIP,
				Hop:     Hop{Interface: 2, MTU: 1500, Source: netip.AddrFrom4([4]byte{10, 0, 0, 1})},
			})
		}
		state.Services = append(state.Services, s)
	}
	return state
}

func BenchmarkAstray(b *testing.B) {
	state := crowd(1000, 100, 65537)
	have := settled(b, state)
	for b.Loop() {
		if _, wrong := Astray(have, state.Services, func() bool { return true }); wrong != nil {
			b.Fatal(wrong)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/1000, "ms/service")
}
