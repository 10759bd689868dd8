package kernel

import (
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// prepared is a scenario with all that it takes to run it.
type prepared struct {
	scenario
	in      *benchWorld // nil for an empty program
	drivers []*ebpf.Program
	frame   []byte
}

// prepareAll makes each world once.
func prepareAll(tb testing.TB, all []scenario) []*prepared {
	tb.Helper()
	needRoot(tb)
	worlds := make(map[string]*benchWorld)
	var ready []*prepared
	for _, s := range all {
		if s.empty == "" && worlds[s.world] == nil {
			worlds[s.world] = openWorld(tb, s.world)
		}
		p, err := prepare(tb, s, worlds[s.world])
		if err != nil {
			tb.Logf("%s is left out: %v", s.name, err)
			continue
		}
		ready = append(ready, p)
	}
	return ready
}

func prepare(tb testing.TB, s scenario, in *benchWorld) (p *prepared, err error) {
	tb.Helper()
	p = &prepared{scenario: s, in: in, frame: s.flow.frame()}
	var program *ebpf.Program
	if s.empty != "" {
		program = newProgram(tb, emptyPrograms[s.empty])
	} else if program = in.plane.objects.PointsmanLb; s.step != "" {
		if program, err = in.stepProgram(tb, s.step); err != nil {
			return nil, err
		}
	}
	for range max(s.cpus, 1) {
		p.drivers = append(p.drivers, p.driver(tb, program))
	}
	return p, nil
}

func (p *prepared) driver(tb testing.TB, program *ebpf.Program) *ebpf.Program {
	tb.Helper()
	if p.nat == nil {
		return flowDriver(tb, program, p.flowBits, p.flow)
	}
	var answers *ebpf.Map
	if p.in != nil {
		answers = p.in.connect(&p.scenario)
	}
	if p.reply {
		p.frame = p.answer(tb)
	} else {
		answers = nil
	}
	return natDriver(tb, program, p.flowBits, p.frame, answers)
}

// turn is the time of one packet in nanoseconds, the mean of many. What the caches
// hold of another scenario is gone before the clock starts.
func (p *prepared) turn(tb testing.TB, packets int) float64 {
	tb.Helper()
	if p.before != nil {
		p.before(p.in)
	} else {
		p.run(tb, packets/8)
	}
	if p.beside != nil {
		defer p.beside(p.in)()
	}
	if p.inserts {
		packets /= 8 // or the table would be another one at the end
	}
	return p.run(tb, packets)
}

// run sends the packets on each CPU, on all of them at once.
func (p *prepared) run(tb testing.TB, packets int) float64 {
	tb.Helper()
	times, failures := make([]float64, len(p.drivers)), make([]error, len(p.drivers))
	var all sync.WaitGroup
	for cpu, driver := range p.drivers {
		all.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if len(p.drivers) > 1 {
				undo, err := stayOn(cpu)
				if failures[cpu] = err; err != nil {
					return
				}
				defer undo()
			}
			_, perPacket, err := driver.Benchmark(p.frame, packets, nil)
			times[cpu], failures[cpu] = float64(perPacket.Nanoseconds()), err
		})
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		tb.Fatalf("%s: %v", p.name, err)
	}
	sum := 0.0
	for _, ns := range times {
		sum += ns
	}
	return sum / float64(len(times))
}

// stayOn keeps the thread on one of the CPUs that it may use.
func stayOn(nth int) (undo func(), err error) {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return nil, err
	}
	cpu := 0
	for left := nth % allowed.Count(); ; cpu++ {
		if allowed.IsSet(cpu) {
			if left == 0 {
				break
			}
			left--
		}
	}
	one.Set(cpu)
	return func() { _ = unix.SchedSetaffinity(0, &allowed) }, unix.SchedSetaffinity(0, &one)
}

func (p *prepared) counts(tb testing.TB) dataplane.Counters {
	tb.Helper()
	if p.in == nil {
		return dataplane.Counters{}
	}
	counters, err := p.in.plane.Counters()
	if err != nil {
		tb.Fatal(err)
	}
	return counters
}
