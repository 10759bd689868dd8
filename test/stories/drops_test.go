package stories

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/packet"
)

// openProvoked has a balancer that drops nothing but what is provoked.
func openProvoked(t *testing.T) *stage {
	s := open(t, lab.Options{Backends: 1, SecondSegment: 1, MTU: lab.ClientMTU}, toHere, toL2, toThere)
	s.configure(provoked)
	s.must(s.Start())
	for service, backend := range map[string]string{"here": "backend-1", "by-l2": "backend-1", "there": "backend-2", "by-nat": "backend-1"} {
		s.awaitBackends(service, backend+" up")
	}
	s.await("the program is attached", func() error {
		if on := s.status().Interfaces; on[0].Mode == "missing" {
			return fmt.Errorf("it is not: %s", on[0].Reason)
		}
		return nil
	})
	return s
}

// reasons are the outcomes whose packets go nowhere, by the program's own types:
// one that is new is among them.
func (s *stage) reasons() (all []string) {
	for name := range s.status().Outcomes {
		if verdict, _, _ := strings.Cut(name, "_"); !slices.Contains([]string{"FORWARD", "PASS", "REPLY"}, verdict) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func TestPrivilegedEveryReasonToDropIsProvokedAndSeenByOperators(t *testing.T) {
	s := openProvoked(t)
	var known []string
	for _, p := range provocations {
		known = append(known, p.reason)
	}
	slices.Sort(known)
	if reasons := s.reasons(); !slices.Equal(known, reasons) {
		t.Errorf("provoked are %q, and the program drops for %q: test/stories/provoked_test.go wants a row for each", known, reasons)
	}
	watching := s.watchDrops("-o", "json")
	for _, p := range provocations {
		for _, v6 := range []bool{false, true} {
			name := fmt.Sprintf("%s: %s, IPv%d", p.reason, p.how, map[bool]int{false: 4, true: 6}[v6])
			t.Run(name, func(t *testing.T) { s.in(t).provoke(p, v6, watching) })
		}
	}
	s.interrupt(watching)
}

// watchDrops begins to watch; what is dropped from then on is told of.
func (s *stage) watchDrops(flags ...string) *speaking {
	s.t.Helper()
	p := s.speak(append([]string{"drops", "--socket", s.Socket()}, flags...)...)
	s.awaitSaid(p, "watching drops, ctrl-C ends it")
	return p
}

// provoke awaits that a drop is counted by status, counted in metrics and told of
// with its ends by drops, and wants no other counter of drops to move. The packet is
// sent until then: the program takes a moment to hear that somebody watches, and the
// daemon mends what some provocations break.
func (s *stage) provoke(p provocation, v6 bool, watching *speaking) {
	s.t.Helper()
	before, metrics, told := s.status().Outcomes, s.metrics(), len(dropsSaid(watching))
	act, want := s.prepare(p, v6)
	s.await(p.reason+" is seen", func() error {
		act()
		return errors.Join(
			grown("status", float64(s.status().Outcomes[p.reason]), float64(before[p.reason])),
			grown("metrics", s.metrics()[sample(p.reason)], metrics[sample(p.reason)]),
			has(dropsSaid(watching)[told:], want),
		)
	})
	if p.also != "" { // what is held is given up after a moment
		s.await("nothing is held any more", func() error {
			now := s.status().Outcomes
			if now[p.reason] != now[p.also] {
				return fmt.Errorf("%s was counted %d times and %s %d times", p.reason, now[p.reason], p.also, now[p.also])
			}
			return nil
		})
	}
	for reason, n := range s.status().Outcomes {
		if slices.Contains(s.reasons(), reason) && reason != p.reason && reason != p.also && n != before[reason] {
			s.t.Errorf("%s was counted %d times more", reason, n-before[reason])
		}
	}
}

func grown(where string, now, before float64) error {
	if now <= before {
		return fmt.Errorf("%s says %v", where, now)
	}
	return nil
}

// prepare returns what provokes, and what is to be told of it.
func (s *stage) prepare(p provocation, v6 bool) (act func(), want api.Drop) {
	s.t.Helper()
	host, iface := s.Lab.Router, "eth1"
	if p.from != nil {
		host, iface = p.from(s), "eth0"
	}
	mac, send := s.sender(host, iface)
	balancer, err := s.Host.Links().LinkByName("eth0")
	s.must(err)
	from, to := p.ends(s, v6)
	content := p.packet(packet.IP{From: from, To: to})
	frame := packet.Ethernet{To: packet.MAC(balancer.Attrs().HardwareAddr), From: mac}.Frame(content)

	want = api.Drop{Reason: p.reason, Interface: "eth0", Length: len(frame), Protocol: p.protocol.of(v6), Source: from.String(), Destination: to.String()}
	if p.ports {
		port := uint16(vipsPort)
		if want.Protocol == "udp" {
			port = 53
		}
		want.Source, want.Destination = netip.AddrPortFrom(from, clientsPort).String(), netip.AddrPortFrom(to, port).String()
	}
	act = func() { send(frame) }
	if p.means != nil {
		act = func() { p.means(s, func() { send(frame) }, frame) }
	}
	return act, want
}

// dropsSaid are the drops in the output of pointsman drops -o json.
func dropsSaid(p *speaking) (all []api.Drop) {
	for line := range strings.Lines(p.out.String()) {
		var d api.Drop
		if json.Unmarshal([]byte(line), &d) == nil && d.Reason != "" { // else it is being written, or is about others
			all = append(all, d)
		}
	}
	return all
}

func has(told []api.Drop, want api.Drop) error {
	var others []string
	for _, d := range told {
		if d.At == nil || time.Since(*d.At).Abs() > time.Hour {
			return fmt.Errorf("a drop is of %v", d.At)
		}
		d.At, d.SchemaVersion, d.NotShown = nil, 0, 0
		if fmt.Sprint(d) == fmt.Sprint(want) {
			return nil
		}
		others = append(others, fmt.Sprintf("%+v", d))
	}
	slices.Sort(others)
	return fmt.Errorf("drops tells of %q, and not of %+v", slices.Compact(others), want)
}

func (s *stage) provocationOf(reason string) provocation {
	i := slices.IndexFunc(provocations, func(p provocation) bool { return p.reason == reason })
	return provocations[i]
}

func TestPrivilegedDropsShowsWhatItIsAskedForAndNothingElse(t *testing.T) {
	s := openProvoked(t)
	noBackend, _ := s.prepare(s.provocationOf("DROP_NO_BACKEND"), false)
	badFlags, _ := s.prepare(s.provocationOf("DROP_BAD_FLAGS"), false)
	badFlags6, _ := s.prepare(s.provocationOf("DROP_BAD_FLAGS"), true)
	client := s.Lab.Client.Addr4.String()
	for _, row := range []struct {
		promise string
		flags   []string
		want    string
	}{
		{"all, unless it is told otherwise", nil, "DROP_BAD_FLAGS 192.0.2.1:80, DROP_BAD_FLAGS [2001:db8:10::1]:80, DROP_NO_BACKEND 192.0.2.4:80"},
		{"a reason", []string{"--reason", "DROP_NO_BACKEND"}, "DROP_NO_BACKEND 192.0.2.4:80"},
		{"two reasons", []string{"--reason", "DROP_NO_BACKEND", "--reason", "DROP_BAD_FLAGS"}, "DROP_BAD_FLAGS 192.0.2.1:80, DROP_BAD_FLAGS [2001:db8:10::1]:80, DROP_NO_BACKEND 192.0.2.4:80"},
		{"a VIP", []string{"--vip", "192.0.2.1:80/tcp"}, "DROP_BAD_FLAGS 192.0.2.1:80"},
		{"a prefix of VIPs", []string{"--vip", "192.0.2.0/24"}, "DROP_BAD_FLAGS 192.0.2.1:80, DROP_NO_BACKEND 192.0.2.4:80"},
		{"a client", []string{"--client", client, "--vip", "192.0.2.4"}, "DROP_NO_BACKEND 192.0.2.4:80"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			everything := s.watchDrops("-o", "json") // is told last of what comes last
			some := s.watchDrops(append(row.flags, "-o", "json")...)
			s.await("all kinds are told of, and those that are wanted", func() error {
				noBackend()
				badFlags()
				badFlags6()
				if all, wanted := kinds(everything), kinds(some); strings.Count(all, ",") < 2 || !strings.HasPrefix(wanted, row.want) {
					return fmt.Errorf("told of were %s, and wanted %s", all, wanted)
				}
				return nil
			})
			s.interrupt(some)
			s.interrupt(everything)
			if got := kinds(some); got != row.want {
				t.Errorf("shown are %s, want %s", got, row.want)
			}
		})
	}
	t.Run("for people, with the ends", func(t *testing.T) {
		s := s.in(t)
		p := s.watchDrops("--reason", "DROP_BAD_FLAGS", "--count", "1")
		s.await("it shows one and ends", func() error {
			badFlags()
			if !strings.HasSuffix(p.out.String(), "\n") {
				return errors.New("nothing is shown")
			}
			return nil
		})
		s.must(p.Wait())
		want := fmt.Sprintf("  DROP_BAD_FLAGS    eth0      tcp   %s:40000 -> 192.0.2.1:80  94 bytes\n", client)
		if got := p.out.String(); !strings.HasSuffix(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("shown is %q, want …%q", got, want)
		}
	})
	t.Run("no more in a second than it is told", func(t *testing.T) {
		s := s.in(t)
		p, began := s.watchDrops("--rate", "1"), time.Now()
		s.await("some are shown, and how many are not", func() error {
			for range 10 {
				badFlags()
			}
			if shown := strings.Count(p.out.String(), "\n"); shown < 2 || !strings.Contains(p.err.String(), "not shown") {
				return fmt.Errorf("shown are %d", shown)
			}
			return nil
		})
		s.interrupt(p)
		if shown, seconds := strings.Count(p.out.String(), "\n"), time.Since(began).Seconds(); float64(shown) > seconds+2 {
			t.Errorf("%d were shown in %.1f s", shown, seconds)
		}
	})
	if _, err := s.Run(t.Context(), "drops", "--socket", s.Socket(), "--reason", "DROP_IT"); err == nil || !strings.Contains(err.Error(), `not dropped for "DROP_IT"`) {
		t.Errorf("a reason that there is not is answered with %v", err)
	}
}

// kinds are the reasons and destinations of what is shown, each once.
func kinds(p *speaking) string {
	all := map[string]bool{}
	for _, d := range dropsSaid(p) {
		all[d.Reason+" "+d.Destination] = true
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}

// Packets pay for one test of a word that is zero, and only when they are dropped.
func TestPrivilegedWatchingDropsCostsNothingWhileNobodyDoes(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(twoWebs) // nothing else turns a switch on
	switches := s.pinned("maps/switches")
	defer switches.Close()
	awaitSwitches := func(what string, on bool) {
		t.Helper()
		s.await(what, func() error {
			words, err := switches.Get(0, 256)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(words, func(b byte) bool { return b != 0 }) != on {
				return fmt.Errorf("the switches are % x", words)
			}
			return nil
		})
	}
	awaitSwitches("all switches are off at first", false)
	first := s.watchDrops()
	awaitSwitches("one is on while somebody watches", true)
	second := s.watchDrops()
	s.interrupt(first)
	awaitSwitches("and while another does", true)
	second.Kill()
	awaitSwitches("all are off once nobody does, though one was killed", false)
	third := s.watchDrops()
	awaitSwitches("one is on again", true)
	s.must(s.Daemon.Stop())
	if err := third.Wait(); err == nil {
		t.Error("pointsman drops ends well, and its daemon has ended")
	}
	if words, err := switches.Get(0, 256); err != nil || slices.ContainsFunc(words, func(b byte) bool { return b != 0 }) {
		t.Errorf("a daemon that ended left the switches % x, %v", words, err)
	}
}
