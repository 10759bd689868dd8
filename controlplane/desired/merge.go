package desired

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Merge decides what the kernel should hold and says why. Services are judged
// one by one; what is wrong with one changes nothing for another, and of one that
// nothing is new of the decision stands.
func Merge(in Input) (dataplane.State, Report) {
	var state dataplane.State
	var report Report
	guard := newGuard(in)
	declared := slices.SortedFunc(slices.Values(in.Services), func(a, b Service) int {
		return strings.Compare(a.Name, b.Name)
	})
	for _, s := range declared {
		before, known := in.Before.Service(s.Name)
		if decided, is := serviceOf(in.Decided, s.Name); known && is && in.stands(before) {
			state.Services = append(state.Services, decided)
			report.Services = append(report.Services, before)
			continue
		}
		want, said := judgeService(in, guard, s, before)
		state.Services = append(state.Services, want)
		report.Services = append(report.Services, said)
	}
	return state, report
}

// serviceOf finds a service that was decided.
func serviceOf(state dataplane.State, name string) (dataplane.Service, bool) {
	i, found := slices.BinarySearchFunc(state.Services, name, func(s dataplane.Service, name string) int {
		return strings.Compare(s.Name, name)
	})
	if !found {
		return dataplane.Service{}, false
	}
	return state.Services[i], true
}

// judgeService says what each backend of a service is worth, and what that
// makes of the service.
func judgeService(in Input, guard guard, s Service, before ServiceReport) (dataplane.Service, ServiceReport) {
	said := ServiceReport{Name: s.Name, VIPs: s.VIPs, Forward: s.Forward, Slots: s.Slots}
	want := dataplane.Service{
		Name: s.Name, VIPs: s.VIPs, Slots: s.Slots,
		Tracking: s.Tracking, AffinityClient: s.AffinityClient,
		IdleTCP: seconds(s.IdleTimeout), IdleUDP: seconds(s.IdleTimeout),
		QUIC: s.QUIC, NAT: s.Forward == dataplane.NAT,
	}
	backends := candidates(guard, s, in.Views[s.Name].Instances)

	for i := range backends {
		b := &backends[i]
		was, _ := before.Find(b.BackendReport)
		b.judge(in, s, was)
	}
	said.Panic = ignoreHealthInPanic(in, s, backends)
	startSlowly(in, s, backends, before, said.Panic)
	nameForQUIC(s, backends)

	for _, b := range backends {
		said.Backends = append(said.Backends, b.BackendReport)
		said.Again = earlier(said.Again, b.again(in.Now, s))
	}
	waiting := awaited(in, s, backends, before)
	if said.Ready = waiting == ""; said.Ready {
		want.Backends = members(in, s, backends)
	} else {
		want.Keep = true
		if in.Held[s.Name] {
			waiting = "forwards by the tables as they were; " + waiting
		}
	}
	summarize(&said, waiting, in.Views[s.Name].Nobody)
	keepSince(&said, before, in.Now)
	return want, said
}

// awaited says what a service's first complete view still lacks, or "". Until
// then the kernel keeps what it holds, so that a start never shrinks a pool.
// Once complete, facts that are missing are a matter of single backends.
func awaited(in Input, s Service, backends []backend, before ServiceReport) string {
	if !in.Views[s.Name].Known {
		return "waiting for Consul's first answer"
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

// again is when time alone will change what is said of the backend; zero is never.
func (b *backend) again(now time.Time, s Service) time.Time {
	at := b.wished
	if b.Draining != nil {
		at = earlier(at, b.Draining.Until)
	}
	if b.State == BackendDrain {
		at = earlier(at, b.Draining.Cut)
	}
	if !b.Joined.IsZero() {
		at = earlier(at, b.nextStep(now, s.SlowStart))
	}
	return at
}

// seconds rounds up to the data plane's unit.
func seconds(d time.Duration) uint32 { return uint32((d + time.Second - 1) / time.Second) }

// members are the backends that the kernel should know: those that get new
// flows and, with weight 0, those that are draining. The weights are divided by
// what all of the service's have in common, the ill and the drained included, so
// that a death does not change what the others are called. While one starts
// slowly they are multiplied, to make room for parts of them: equal shares give
// equal tables, whatever they are called.
func members(in Input, s Service, backends []backend) []dataplane.Backend {
	var all []dataplane.Backend
	unit, scale := units(backends)
	for _, b := range backends {
		if b.State != BackendUp && b.State != BackendDrain {
			continue
		}
		member := dataplane.Backend{ID: b.Key, Forward: s.Forward, Hop: in.Hops[b.Addr].Hop, QUICID: b.quicID}
		if b.Weight > 0 {
			member.Weight = b.part(b.Weight/unit*scale, in.Now, s.SlowStart)
		}
		all = append(all, member)
	}
	return all
}

// units are what the weights of a service are divided by and multiplied with.
func units(backends []backend) (unit, scale uint16) {
	most, slowly := uint16(0), false
	for _, b := range backends {
		unit = greatestCommonDivisor(unit, b.full)
		most = max(most, b.full)
		slowly = slowly || !b.Joined.IsZero()
	}
	if slowly {
		return unit, MaxWeight / (most / unit)
	}
	return unit, 1
}

func greatestCommonDivisor(a, b uint16) uint16 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// summarize says what the backends make of the service.
func summarize(said *ServiceReport, waiting, nobody string) {
	missing := 0
	for _, b := range said.Backends {
		switch b.State {
		case BackendUp:
			said.Up++
		case BackendDrain, BackendDrained, BackendDisabled, BackendUnknown: // on purpose, and for a moment
		default:
			missing++
		}
	}
	switch {
	case waiting != "":
		said.State, said.Reason = Waiting, waiting
	case len(said.Backends) == 0:
		said.State, said.Reason = Down, "it has no backends"
		if nobody != "" {
			said.Reason += ": " + nobody
		}
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
