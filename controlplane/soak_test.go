package controlplane

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

var (
	soakEvents = flag.Int("soak.events", 15_000, "how many events the day of random changes has")
	soakSeed   = flag.Uint64("soak.seed", 0, "repeat the day of this seed; 0 draws one")
)

// TestADayOfRandomChangesEndsWhereAFreshStartDoes plays tens of thousands of
// changes of everything that can change: the file, Consul, health, the network,
// operators, time, flows, writes that fail, hands in the tables, daemons that end
// and start. When all is said and settled, the tables must be those of a daemon
// that was told only how it ended, and nothing may have grown.
func TestADayOfRandomChangesEndsWhereAFreshStartDoes(t *testing.T) {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat it with -soak.seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		d := newDay(t, rand.New(rand.NewPCG(seed, seed)))
		defer func() { d.end() }()
		events := *soakEvents
		d.play(events / 10) // until all that it keeps has been seen
		before := d.weigh()
		d.play(events - events/10)
		d.calm()
		after := d.weigh()
		t.Logf("%d events in %s of its own time; %+v, and at first %+v", events, time.Since(d.raised).Round(time.Minute), after, before)
		if after.goroutines > before.goroutines || after.heap > before.heap+4<<20 {
			t.Errorf("something grows: %+v, and at first %+v", after, before)
		}
		if left := d.daemon.inbox.take(); !left.arrived.IsZero() || len(left.views) > 0 {
			t.Errorf("something is left in the inbox: %+v", left)
		}

		fresh := d.fresh()
		defer func() { fresh.end() }()
		fresh.calm()
		for what, see := range map[string]func(*day) []string{"the kernel holds": (*day).portrait, "an operator sees": (*day).page} {
			for _, difference := range fake.Differences(see(d), see(fresh)) {
				t.Errorf("what %s after the day (-) and a fresh start (+): %s", what, difference)
			}
		}
		for _, line := range fake.Restless(d.portrait()) {
			t.Error(line)
		}
	})
}

func (d *day) portrait() []string {
	tables, err := d.plane.Tables()
	if err != nil {
		d.t.Fatal(err)
	}
	return fake.Portrait(tables)
}

// page is what there is to see, but for when drains that are over were cut.
func (d *day) page() []string {
	return strings.Split(regexp.MustCompile(`, cut in -[0-9hms.]+`).ReplaceAllString(d.scene(), ""), "\n")
}

// day is a stage and how the world around it is now.
type day struct {
	*stage
	*rand.Rand
	services [5]declared
	consul   [5]string // what Consul says of each, as stage.view reads it
	probes   map[string]string
	hops     map[string]string
	absent   map[string]bool // interfaces
	failing  bool
}

// declared is a service as the file has it.
type declared struct {
	in                                     bool
	consul, tagged, probed, udp            bool
	slots, idle, drain, slow, backends     int
	weights                                [6]int
	tracking, affinity, forward, threshold string
}

func newDay(t *testing.T, r *rand.Rand) *day {
	d := &day{stage: newStage(t), Rand: r, probes: map[string]string{}, hops: map[string]string{}, absent: map[string]bool{}}
	for i := range d.services {
		d.redeclare(i)
		d.consul[i] = d.answer()
	}
	d.services[0].in = true
	d.begin()
	return d
}

// begin starts a daemon and tells it how the world is.
func (d *day) begin() {
	d.start([]byte(d.file()))
	d.tell()
}

// tell says everything that is known.
func (d *day) tell() {
	d.tellOfOurs()
	for i := range d.services {
		d.hear(i)
	}
	synctest.Wait()
}

// tellOfOurs says what is known without Consul.
func (d *day) tellOfOurs() {
	synctest.Wait()
	d.prober.hear(facts(d.probes), d.daemon.inbox.judged)
	d.stage.hops.hear(facts(d.hops), d.daemon.inbox.resolved)
	synctest.Wait()
}

func facts(known map[string]string) string {
	var text strings.Builder
	for about, fact := range known {
		fmt.Fprintln(&text, strings.TrimSpace(about+" "+fact))
	}
	return text.String()
}

// hear lets Consul's word about a service arrive, if it asks.
func (d *day) hear(i int) {
	if watch := d.watch(name(i)); watch != "" {
		d.view(watch, d.consul[i])
	}
}

func name(i int) string { return fmt.Sprintf("service-%d", i) }

func backendAddr(i int) string { return fmt.Sprintf("10.20.0.%d", 10+i) }

func (d *day) pick(words ...string) string { return words[d.IntN(len(words))] }

func (d *day) chance(percent int) bool { return d.IntN(100) < percent }

// redeclare writes a service of the file anew.
func (d *day) redeclare(i int) {
	s := &d.services[i]
	*s = declared{
		in: d.chance(80), consul: d.chance(60), tagged: d.chance(20), probed: d.chance(40), udp: d.chance(50),
		slots: []int{251, 257, 509}[d.IntN(3)], idle: 2 + d.IntN(20), drain: d.IntN(120), slow: d.IntN(2) * d.IntN(60),
		backends: 1 + d.IntN(6), tracking: d.pick("auto", "auto", "always", "never"), affinity: d.pick("flow", "client"),
		forward: d.pick("ipip", "l2"), threshold: d.pick("0", "0", "0.4"),
	}
	for n := range s.weights {
		s.weights[n] = d.IntN(4)
	}
}

// file is the configuration now.
func (d *day) file() string {
	var text strings.Builder
	text.WriteString("interfaces = [\"eth0\", \"eth1\"]\nvip_pools = [\"192.0.2.0/24\"]\nconsul {}\n")
	for i, s := range d.services {
		if !s.in {
			continue
		}
		listen := fmt.Sprintf("%q", fmt.Sprintf("192.0.2.%d:443/tcp", 10+i))
		if s.udp {
			listen += fmt.Sprintf(", %q", fmt.Sprintf("192.0.2.%d:443/udp", 10+i))
		}
		fmt.Fprintf(&text, "service %q {\n listen = [%s]\n slots = %d\n idle_timeout = \"%ds\"\n drain_timeout = \"%ds\"\n slow_start = \"%ds\"\n",
			name(i), listen, s.slots, s.idle, s.drain, s.slow)
		fmt.Fprintf(&text, " tracking = %q\n affinity = %q\n forward = %q\n panic_threshold = %s\n", s.tracking, s.affinity, s.forward, s.threshold)
		switch {
		case s.consul && s.tagged:
			text.WriteString(" consul { tags = [\"prod\"] }\n")
		case s.consul:
			text.WriteString(" consul {}\n")
		default:
			for n := range s.backends {
				fmt.Fprintf(&text, " backend %q { weight = %d }\n", backendAddr(n), s.weights[n])
			}
		}
		if s.probed {
			text.WriteString(" health \"tcp\" {}\n")
		}
		text.WriteString("}\n")
	}
	return text.String()
}

// answer is what Consul might say.
func (d *day) answer() string {
	var text strings.Builder
	for n := range 6 {
		if d.chance(70) {
			fmt.Fprintf(&text, "%s %s %d\n", backendAddr(n), d.pick("passing", "passing", "passing", "warning", "maintenance", "critical"), d.IntN(4))
		}
	}
	return text.String()
}

func (d *day) play(events int) {
	for range events {
		d.event()
		d.plane.Steps() // which nobody else takes
		d.log.take()
	}
}

// event is one change of the world.
func (d *day) event() {
	i := d.IntN(len(d.services))
	switch n := d.IntN(100); {
	case n < 14:
		d.redeclare(i)
		d.stage.event("reload", "", "", []byte(d.file()))
		if d.chance(70) {
			synctest.Wait()
			d.hear(i)
		}
	case n < 40:
		for range 1 + d.IntN(3) { // some of them within one turn of the loop
			i = d.IntN(len(d.services))
			d.consul[i] = d.answer()
			d.hear(i)
		}
	case n < 45:
		if watch := d.watch(name(i)); watch != "" {
			view := d.daemon.views[watch]
			view.Service, view.Reason, view.Err, view.Changed = watch, consul.Unreachable, errors.New("connection refused"), false
			d.daemon.inbox.viewed(view)
		}
	case n < 58:
		d.probes[name(i)+" "+backendAddr(d.IntN(6))] = d.pick("well", "well", "well", "well", "ill connection refused")
		d.prober.hear(facts(d.probes), d.daemon.inbox.judged)
	case n < 66:
		d.hops[backendAddr(d.IntN(6))] = d.pick("", "", "", "", "no neighbour answers")
		d.stage.hops.hear(facts(d.hops), d.daemon.inbox.resolved)
	case n < 70:
		d.network(d.pick("eth0", "eth1"))
	case n < 73:
		d.meddle()
	case n < 76:
		d.trouble()
	case n < 80:
		d.operate(name(i), backendAddr(d.IntN(6)))
	case n < 85:
		d.pass()
	case n < 97:
		time.Sleep(time.Duration(d.IntN(20_000)) * time.Millisecond)
	default:
		d.end()
		d.restart()
	}
	synctest.Wait()
}

// restart starts another daemon: mostly in the same kernel, and now and then while
// Consul says nothing yet.
func (d *day) restart() {
	if d.plane = d.plane.Reopen(); d.chance(20) {
		d.boot()
		for iface, absent := range d.absent {
			if absent {
				d.plane.RemoveInterface(iface)
			}
		}
	}
	d.hurt(d.failing)
	d.start([]byte(d.file()))
	if d.chance(50) {
		d.tell()
	} else {
		d.tellOfOurs()
	}
}

// network lets an interface vanish, or come back as another.
func (d *day) network(iface string) {
	if d.absent[iface] = !d.absent[iface]; d.absent[iface] {
		d.plane.RemoveInterface(iface)
	} else {
		d.plane.AddInterface(iface, fake.Interface{Index: 2 + uint32(d.IntN(50))})
	}
	d.gone.Store("")
	for name, absent := range d.absent {
		if absent {
			d.gone.Store(name)
		}
	}
}

// meddle is somebody else's hand in the tables.
func (d *day) meddle() {
	what, slot := d.IntN(5), d.IntN(2000)
	if what == 4 {
		d.plane.Change(trespasses[d.pick("services", "foreign", "phases", "marks")])
		return
	}
	d.plane.Change(func(tables *dataplane.Tables) {
		switch what {
		case 0:
			vips := slices.SortedFunc(maps.Keys(tables.VIPs), func(a, b dataplane.VIP) int { return strings.Compare(a.String(), b.String()) })
			if len(vips) > 0 {
				delete(tables.VIPs, vips[slot%len(vips)])
			}
		case 1:
			if indexes := slices.Sorted(maps.Keys(tables.Backends)); len(indexes) > 0 {
				delete(tables.Backends, indexes[slot%len(indexes)])
			}
		case 2:
			clear(tables.Egress)
		default:
			for i := range 100 {
				tables.Slots[slot+i] = 0
			}
		}
	})
}

// trouble lets writes fail now and then, or ends that.
func (d *day) trouble() {
	d.failing = !d.failing
	d.hurt(d.failing)
}

func (d *day) hurt(failing bool) {
	if !failing {
		d.plane.FailOn(nil)
		return
	}
	n := 0
	every := 2 + d.IntN(20)
	d.plane.FailOn(func(dataplane.Step) error {
		if n++; n%every == 0 {
			return fake.ErrInjected
		}
		return nil
	})
}

// operate drains a backend, or takes that back. Many a wish is refused.
func (d *day) operate(service, backend string) {
	if d.chance(60) {
		_, _ = d.daemon.Override("drain", api.OverrideRequest{Service: service, Address: backend, TTL: fmt.Sprintf("%ds", 1+d.IntN(600))}, "ada")
	} else {
		_, _ = d.daemon.Lift("drain", api.LiftRequest{Service: service, Address: backend}, "ada")
	}
}

// pass is traffic, as far as the tables see of it.
func (d *day) pass() {
	now := d.daemon.second()
	addr, many, long := backendAddr(d.IntN(6)), d.IntN(50), uint32(d.IntN(20))
	d.plane.Change(func(tables *dataplane.Tables) {
		for vip := range tables.VIPs {
			noteSeconds(tables, vip.String(), now)
		}
		remember(tables, addr, now+long, many)
	})
}

// calm lets everything heal, tells all once more, and lets time go by until it
// has nothing left to do.
func (d *day) calm() {
	d.failing = false
	d.plane.FailOn(nil)
	for i, iface := range []string{"eth0", "eth1"} {
		d.absent[iface] = false
		d.plane.AddInterface(iface, fake.Interface{Index: uint32(100 + i)})
	}
	d.gone.Store("eth0") // so that they are attached to again
	time.Sleep(time.Minute)
	d.gone.Store("")
	d.tell()
	time.Sleep(time.Hour)
	synctest.Wait()
	d.plane.Steps()
}

// fresh is a daemon with an empty kernel and an empty disk in the same world.
func (d *day) fresh() *day {
	f := *d
	f.stage = newStage(d.t)
	f.absent = map[string]bool{}
	f.begin()
	return &f
}

// weight is what must not grow.
type weight struct {
	goroutines int
	heap       uint64
}

func (d *day) weigh() weight {
	d.plane.Steps()
	d.log.take()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return weight{runtime.NumGoroutine(), memory.HeapAlloc}
}
