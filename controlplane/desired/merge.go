package desired

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Merge decides what the kernel should hold and says why. Services are judged
// one by one; what is wrong with one changes nothing for another.
func Merge(in Input) (dataplane.State, Report) {
	var state dataplane.State
	var report Report
	guard := newGuard(in)
	declared := slices.SortedFunc(slices.Values(in.Services), func(a, b Service) int {
		return strings.Compare(a.Name, b.Name)
	})
	for _, s := range declared {
		before, _ := in.Before.Service(s.Name)
		want, said := judgeService(in, guard, s, before)
		state.Services = append(state.Services, want)
		report.Services = append(report.Services, said)
	}
	return state, report
}

// judgeService says what each backend of a service is worth, and what that
// makes of the service.
func judgeService(in Input, guard guard, s Service, before ServiceReport) (dataplane.Service, ServiceReport) {
	said := ServiceReport{Name: s.Name, VIPs: s.VIPs, Forward: s.Forward, Slots: s.Slots}
	want := dataplane.Service{Name: s.Name, VIPs: s.VIPs, Slots: s.Slots}
	backends := candidates(guard, s, in.Views[s.Name].Instances)

	for i := range backends {
		b := &backends[i]
		was, known := before.Find(b.BackendReport)
		b.served = known && was.State == BackendUp
		b.judge(in, s)
	}
	said.Panic = ignoreHealthInPanic(in, s, backends)

	for _, b := range backends {
		said.Backends = append(said.Backends, b.BackendReport)
	}
	waiting := awaited(in, s, backends, before)
	if said.Ready = waiting == ""; said.Ready {
		want.Backends = members(in, s, backends)
	} else {
		want.Keep = true
	}
	summarize(&said, waiting)
	keepSince(&said, before, in.Now)
	return want, said
}

// awaited says what a service's first complete view still lacks, or "". Until
// then the kernel keeps what it holds, so that a start never shrinks a pool.
// Once complete, facts that are missing are a matter of single backends.
func awaited(in Input, s Service, backends []backend, before ServiceReport) string {
	if !in.Views[s.Name].Known {
		return "waiting for the first answer about who its backends are"
	}
	if before.Ready {
		return ""
	}
	unprobed, unresolved := 0, 0
	for _, b := range backends {
		if b.State == BackendRejected {
			continue
		}
		if s.Probed && in.Verdicts[probeKey(s, b.BackendReport)].Health == Unknown {
			unprobed++
		}
		if _, looked := in.Hops[b.Addr]; !looked {
			unresolved++
		}
	}
	switch {
	case unprobed > 0:
		return fmt.Sprintf("waiting for the first probe of %s", count(unprobed, "backend"))
	case unresolved > 0:
		return fmt.Sprintf("waiting for the next hop of %s", count(unresolved, "backend"))
	}
	return ""
}

// members are the backends that the kernel should know: those that get new
// flows and, with weight 0, those that are drained. The weights are divided by
// what all of the service's have in common, the ill included, so that a death
// does not change what the others are called.
func members(in Input, s Service, backends []backend) []dataplane.Backend {
	var all []dataplane.Backend
	unit := uint16(0)
	for _, b := range backends {
		unit = greatestCommonDivisor(unit, b.worth)
	}
	for _, b := range backends {
		if b.State != BackendUp && b.State != BackendDrain {
			continue
		}
		member := dataplane.Backend{ID: b.Key, Forward: s.Forward, Hop: in.Hops[b.Addr].Hop}
		if b.Weight > 0 {
			member.Weight = b.Weight / unit
		}
		all = append(all, member)
	}
	return all
}

func greatestCommonDivisor(a, b uint16) uint16 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// summarize says what the backends make of the service.
func summarize(said *ServiceReport, waiting string) {
	missing := 0
	for _, b := range said.Backends {
		switch b.State {
		case BackendUp:
			said.Up++
		case BackendDrain, BackendUnknown: // on purpose, and for a moment
		default:
			missing++
		}
	}
	switch {
	case waiting != "":
		said.State, said.Reason = Waiting, waiting
	case len(said.Backends) == 0:
		said.State, said.Reason = Down, "it has no backends"
	case said.Up == 0:
		said.State, said.Reason = Down, "no backend is up"
	case said.Panic:
		said.State, said.Reason = Degraded, "so few backends are well that health is ignored"
	case missing > 0:
		said.State = Degraded
		said.Reason = fmt.Sprintf("%d of %s not up", missing, count(len(said.Backends), "backend"))
	default:
		said.State = OK
	}
}

// keepSince carries the time of a state over from the last report where the
// state is still the same.
func keepSince(said *ServiceReport, before ServiceReport, now time.Time) {
	said.Since = now
	if before.State == said.State {
		said.Since = before.Since
	}
	for i := range said.Backends {
		b := &said.Backends[i]
		b.Since = now
		if was, known := before.Find(*b); known && was.State == b.State {
			b.Since = was.Since
		}
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
