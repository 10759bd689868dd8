package controlplane

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
	"github.com/pointsman/pointsman/controlplane/systemd"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

var update = flag.Bool("update", false, "write what is expected anew")

// TestSpecs plays the stories of testdata. Each file of a story is one event,
// or what is expected after those before it:
//
//	start            the daemon starts with this configuration
//	stop             it ends
//	restart          it ends, and another starts with what it left in the kernel
//	reboot           it ends, and another starts with what is on the disk alone
//	freeze           nothing that is known from now on reaches the disk before the daemon ends
//	damage FILE      a byte of a file in the state directory is another
//	reload           SIGHUP, with this configuration
//	view SERVICE     Consul's answer: ADDRESS STATUS [WEIGHT] a line
//	late WATCH       an answer to a question that was taken back
//	held SERVICE     Consul cannot be believed, for this reason
//	probe            SERVICE ADDRESS well|ill [REASON] a line
//	hop              ADDRESS PROBLEM, or ADDRESS alone to mend it
//	fail WORD        writing steps fails if they have the word in them
//	heal             writing works again
//	gone NAME        the interface vanishes
//	back NAME        and another comes by its name
//	meddle WHAT      someone deletes all VIPs, or services, or adds a VIP, or takes marks or phases away
//	overwrite N      and of the first N slots, their owners
//	wait DURATION    time goes by
//	drain SERVICE ADDRESS TTL    an operator asks for it, with the text as reason
//	undrain SERVICE ADDRESS      and takes it back
//	disable SERVICE ADDRESS TTL  the same of this
//	enable SERVICE ADDRESS       and of taking it back
//	weight SERVICE ADDRESS TTL WEIGHT    and of a weight
//	clear SERVICE    and all are taken back
//	overrides        what the API lists of them
//	packets VIP      one goes to the fallback of each moving slot, now
//	remember ADDRESS SECONDS N   the program remembers flows
//	dropped OUTCOME N    the program counts that many packets more
//	connection CLIENT VIP BACKEND SECONDS    the program makes one of nat, alone
//	flows            what is listed of them
//	plan             an operator asks what this configuration would change, which planned says
//	explain PROTOCOL CLIENT TO    what is said of such a packet
//	expect           report, tables and warnings
//	log              what was logged since the last look
//	events SERVICE   what the API tells of, since the last look
//	flap SERVICE ADDRESS N PAUSE    probes find it ill and well in turn, N times
func TestSpecs(t *testing.T) {
	stories, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatal("there are no stories", err)
	}
	for _, path := range stories {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			story, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { play(t, story) })
			if *update {
				if err := os.WriteFile(path, txtar.Format(story), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// stage is a daemon among fakes.
type stage struct {
	t         testing.TB
	plane     *fake.Tables
	prober    *fakeProber
	hops      *fakeHops
	discovery *discovery
	daemon    *daemon
	gone      atomic.Value // the name of the interface that vanished
	log       record
	raised    time.Time
	state     string // the folder of what daemons leave to one another
	manager   manager
	lastPlan  string
	lastEvent uint64
	frozen    []byte // what the disk will have when the daemon has ended
	end       func()
}

func newStage(t testing.TB) *stage {
	s := &stage{t: t, end: func() {}, raised: time.Now(), state: t.TempDir(), manager: &systemd.Notifier{}}
	s.boot()
	return s
}

// boot makes a kernel that holds nothing.
func (s *stage) boot() {
	s.plane = fake.New(dataplane.Limits{Services: 16, VIPs: 16, Backends: 64}, 4096)
	s.plane.AddInterface("eth0", fake.Interface{Index: 2})
	s.plane.AddInterface("eth1", fake.Interface{Index: 3, Mode: "generic", Reason: "the driver refuses native mode"})
}

// read reads a file of the state directory, and write replaces it.
func (s *stage) read(name string) []byte {
	text, err := os.ReadFile(filepath.Join(s.state, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

func (s *stage) write(name string, text []byte) {
	if err := os.WriteFile(filepath.Join(s.state, name), text, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func play(t *testing.T, story *txtar.Archive) {
	s := newStage(t)
	defer func() { s.end() }()
	for i := range story.Files {
		file := &story.Files[i]
		verb, rest, _ := strings.Cut(file.Name, " ")
		switch verb {
		case "expect":
			s.compare(file, s.scene())
		case "log":
			s.compare(file, s.log.take())
		case "flows":
			s.compare(file, s.connections())
		case "overrides":
			s.compare(file, s.overrides())
		case "events":
			s.compare(file, s.events(rest))
		case "planned":
			s.compare(file, s.lastPlan)
		case "explain":
			s.compare(file, s.explain(strings.Fields(rest)))
		default:
			s.event(verb, rest, strings.TrimSpace(string(file.Data)), file.Data)
			synctest.Wait()
		}
	}
}

func (s *stage) compare(file *txtar.File, got string) {
	if *update {
		file.Data = []byte(got)
	} else if want := string(file.Data); got != want {
		s.t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func (s *stage) event(verb, rest, text string, data []byte) {
	switch verb {
	case "start":
		s.start(data)
	case "stop":
		s.end()
	case "restart":
		s.end()
		if s.frozen != nil {
			s.write("last-known-good.json", s.frozen)
		}
		s.plane = s.plane.Reopen()
		s.start(data)
	case "reboot":
		s.end()
		s.boot()
		s.start(data)
	case "freeze":
		s.frozen = s.read("last-known-good.json")
	case "damage":
		text := s.read(rest)
		text[len(text)/2] ^= 1
		s.write(rest, text)
	case "reload":
		file, err := config.Parse("pointsman.hcl", data)
		s.daemon.inbox.reloaded(loaded{file: file, err: err, at: time.Now()})
	case "plan":
		s.lastPlan = planned(s.plan(data))
	case "view":
		s.view(s.watch(rest), text)
	case "late":
		s.view(rest, text)
	case "held":
		view := s.daemon.views[s.watch(rest)]
		view.Service, view.Reason, view.Err, view.Changed = s.watch(rest), consul.Unreachable, errors.New(text), false
		s.daemon.inbox.viewed(view)
	case "probe":
		s.prober.hear(text, s.daemon.inbox.judged)
	case "flap":
		s.flap(strings.Fields(rest))
	case "hop":
		s.hops.hear(text, s.daemon.inbox.resolved)
	case "fail":
		s.plane.FailOn(func(step dataplane.Step) error {
			if strings.Contains(step.String(), rest) {
				return errors.New("the kernel says no")
			}
			return nil
		})
	case "heal":
		s.plane.FailOn(nil)
	case "gone":
		s.gone.Store(rest)
		s.plane.RemoveInterface(rest)
	case "back":
		s.gone.Store("")
		s.plane.AddInterface(rest, fake.Interface{Index: 12})
	case "meddle":
		s.plane.Change(trespasses[rest])
	case "overwrite":
		var slots int
		fmt.Sscan(rest, &slots)
		s.plane.Change(func(tables *dataplane.Tables) { clear(tables.Slots[:slots]) })
	case "drain", "undrain", "disable", "enable", "weight", "clear", "packets", "remember", "dropped", "connection":
		s.flows(verb, strings.Fields(rest), text)
	case "wait":
		pause, err := time.ParseDuration(rest)
		if err != nil {
			s.t.Fatal(err)
		}
		time.Sleep(pause) // in the bubble's own time
	default:
		s.t.Fatalf("no event is called %q", verb)
	}
}

// trespasses are what someone else may do to the tables.
var trespasses = map[string]func(*dataplane.Tables){
	"vips":     func(tables *dataplane.Tables) { clear(tables.VIPs) },
	"services": func(tables *dataplane.Tables) { clear(tables.Services) },
	"phases": func(tables *dataplane.Tables) {
		for slot := range uint32(len(tables.Slots)) {
			tables.Conditions.Put(slot, dataplane.TCP, dataplane.Condition{})
		}
	},
	"marks": func(tables *dataplane.Tables) {
		for vip, entry := range tables.VIPs {
			entry.Unsettled = false
			tables.VIPs[vip] = entry
		}
	},
	"foreign": func(tables *dataplane.Tables) {
		tables.VIPs[dataplane.VIP{Addr: netip.MustParseAddr("192.0.2.99"), Port: 22, Protocol: dataplane.TCP}] = dataplane.VIPEntry{SlotCount: 251}
	},
}

// start lets a daemon take over the tables as they are.
func (s *stage) start(data []byte) {
	keeper := s.raise(data)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.daemon.run(ctx) }()
	go func() { done <- keeper.Run(ctx) }()
	s.end = func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			s.t.Error(err)
		}
		s.end = func() {}
	}
}

// raise makes the daemon, which does nothing yet.
func (s *stage) raise(data []byte) *keeper {
	file, err := config.Parse("pointsman.hcl", data)
	if err != nil {
		s.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{ReplaceAttr: untimed}))
	overrides, err := openOverrides(s.state, log)
	if err != nil {
		s.t.Fatal(err)
	}
	keeper, known := openKeeper(s.state, log)
	s.prober, s.hops = &fakeProber{}, &fakeHops{}
	s.discovery = newDiscovery(nil, nil, log)
	s.daemon = &daemon{
		log: log, version: "test", path: "pointsman.hcl", started: time.Now(),
		plane: &serial{dp: s.plane}, inbox: newInbox(), events: newChronicle(log), prober: s.prober, hops: s.hops, watches: s.discovery,
		consulAddress: s.discovery.Address, consulCounts: s.discovery.Counts, timings: api.NewTimings(),
		second:    func() uint32 { return uint32(time.Since(s.raised).Seconds()) },
		ifindexes: func(name string) []uint32 { return map[string][]uint32{"eth0": {2}, "eth1": {3}}[name] },
		overrides: overrides,
		keeper:    keeper,
		manager:   s.manager,
		recalling: recalling{notes: known},
	}
	if err := s.daemon.begin(loaded{file: file, at: time.Now()}); err != nil {
		s.t.Fatal(err)
	}
	return keeper
}

// untimed drops what differs from run to run. A time that never was stays, for
// all to see.
func untimed(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "file" || a.Key == "set_aside_as" || a.Key == "confirmed" && !a.Value.Time().IsZero() {
		return slog.Attr{}
	}
	return a
}

func (s *stage) watch(service string) string { return s.daemon.watchNames[service] }

var statuses = map[string]consul.Status{
	"passing": consul.Passing, "warning": consul.Warning, "maintenance": consul.Maintenance, "critical": consul.Critical,
}

func (s *stage) view(watch, text string) {
	view := consul.View{Service: watch, At: time.Now(), Changed: true, Answered: time.Now()}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		weight := 1
		if len(words) > 2 {
			fmt.Sscan(words[2], &weight)
		}
		view.Instances = append(view.Instances, consul.Instance{
			Node: "n", ID: words[0], Addr: netip.MustParseAddr(words[0]), Port: 443,
			Status: statuses[words[1]], WeightPassing: weight, WeightWarning: 1,
		})
	}
	s.daemon.inbox.viewed(view)
}

// scene is what an operator would see, and what the kernel holds.
func (s *stage) scene() string {
	var b strings.Builder
	for _, service := range s.daemon.Services() {
		fmt.Fprintf(&b, "%s %s%s\n", service.Name, service.State, because(service.Reason))
		for _, backend := range service.Backends {
			fmt.Fprintf(&b, "  %s %s %d%s%s\n", backend.Address, backend.State, backend.Weight, leftOf(backend), because(backend.Reason))
		}
		b.WriteString(unsettledSlots(service))
	}
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	var vips []string
	for vip := range tables.VIPs {
		var owners []string
		for id, n := range s.plane.Owned(vip) {
			name := id.String()
			if id == (dataplane.ID{}) {
				name = "nobody"
			}
			owners = append(owners, fmt.Sprintf(" %s=%d", name, n))
		}
		slices.Sort(owners)
		vips = append(vips, fmt.Sprintf("%s ->%s\n", vip, strings.Join(owners, "")))
	}
	slices.Sort(vips)
	b.WriteString(strings.Join(vips, ""))
	for _, index := range slices.Sorted(maps.Keys(tables.Backends)) {
		if tables.Backends[index].Dead {
			fmt.Fprintf(&b, "index %d waits to be forgotten\n", index)
		}
	}
	for _, at := range s.plane.Attached() {
		fmt.Fprintf(&b, "attached %s %s\n", at.Interface, at.Mode)
	}
	for _, warning := range s.daemon.Status().Warnings {
		if !strings.HasPrefix(warning, "service ") {
			fmt.Fprintf(&b, "warning: %s\n", warning)
		}
	}
	return b.String()
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
