package stories

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

const unprobed = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp", "192.0.2.1:7000/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v6 2}}" { weight = 2 }
}
service "dns" {
  listen  = ["192.0.2.2:53/udp", "[2001:db8:10::2]:53/udp"]
  forward = "l2"
  backend "{{v6 1}}" {}
  backend "{{v4 2}}" {}
}`

func TestPrivilegedForwardingOutlivesTheDaemonAndTheNextOneAdoptsIt(t *testing.T) {
	for _, row := range []struct {
		promise string
		end     func(*stage)
	}{
		{"when it is killed", func(s *stage) { s.Daemon.Kill() }},
		{"when it is asked to end", func(s *stage) { s.must(s.Daemon.Stop()) }},
		{"when it is killed again and again as it starts", (*stage).killAsItStarts},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := open(t, lab.Options{Backends: 2}, 1, 2)
			s.begin(unprobed)
			asking := s.keepAsking(append([]string{"tcp 192.0.2.1:7000"}, allVIPs...)...)
			slots, before := s.slots("web"), s.ledger()

			row.end(s)
			for _, vip := range allVIPs {
				s.allAnswered("without a daemon, "+vip, asking.ask(vip, 200))
			}
			asking.join()

			s.must(s.Start())
			now, err := s.AwaitReady(t.Context())
			s.must(err)
			if now.LastApply != nil {
				t.Errorf("the next daemon changed tables that were right: %+v", now.LastApply)
			}
			if got := s.slots("web"); !maps.Equal(got, slots) {
				t.Errorf("the next daemon shows slots %v, the one before %v", got, slots)
			}
			s.ledger().follows(t, before)
			for _, vip := range allVIPs {
				s.allAnswered("by the next daemon, "+vip, asking.ask(vip, 100))
			}
			h := asking.finish()
			s.nothingLost(h)
			s.accounts(h)
		})
	}
}

// killAsItStarts ends daemons at one moment of their start after the other: the
// first has read no file yet, the last is ready.
func (s *stage) killAsItStarts() {
	for pause := time.Millisecond; pause < time.Second; pause *= 2 {
		s.Daemon.Kill()
		s.must(s.Start())
		time.Sleep(pause) // the moment is chosen by nothing else
	}
	s.Daemon.Kill()
}

func TestPrivilegedADaemonThatIsKilledInTheMidstOfAChangeBreaksNoFlow(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	another := strings.ReplaceAll(unprobed, "weight = 2 }", "weight = 2 }\n  backend \"{{v4 3}}\" {}")
	want := weights{"backend-1": 1, "backend-2": 2, "backend-3": 1}
	s.begin(unprobed)
	asking := s.keepAsking(webVIPs...)
	s.reload(another)
	asking.join() // some of them go to backend-3, and are remembered
	s.spread(webVIPs[0], want)

	s.Daemon.Kill()
	asking.join()
	s.spread(webVIPs[1], want)
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	asking.join()
	s.spread(webVIPs[0], want)

	t.Run("and the next daemon goes on with it", func(t *testing.T) {
		s := s.in(t)
		for _, unsettled := range []string{"backend-1", "backend-2"} {
			if s.fallbacks("web")[unsettled] == 0 {
				t.Errorf("nothing falls back to %s any more", unsettled)
			}
		}
		s.reload(strings.ReplaceAll(another, "weight = 2", "weight = 0"))
		asking.join()
		s.spread(webVIPs[1], weights{"backend-1": 1, "backend-3": 1})
	})
	s.nothingLost(asking.finish())
}

func TestPrivilegedADaemonThatComesBackTakesOutWhatDiedMeanwhile(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	s.begin(probed)
	s.Daemon.Kill()
	s.backend(2).Kill()
	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up", "backend-2 down probe:", "backend-3 up")
	s.awaitBackends("dns", "backend-1 up", "backend-2 down probe:", "backend-3 up")
	for _, vip := range allVIPs {
		s.spread(vip, survivors)
	}
}

func TestPrivilegedDetachLeavesNothing(t *testing.T) {
	s := open(t, lab.Options{Backends: 2, SecondSegment: 1}, 1, 2)
	s.begin(unprobed)
	s.must(s.Daemon.Stop())
	if len(s.programs()) == 0 {
		t.Error("no program is attached before")
	}
	s.must(s.Detach(t.Context()))
	if left := s.programs(); len(left) > 0 {
		t.Errorf("programs are still attached to %v", left)
	}
	if _, err := os.Stat(s.PinDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", s.PinDir(), err)
	}
	s.noneAnswered("http 192.0.2.1:80")
	s.must(s.Detach(t.Context())) // again, and it is no error

	s.begin(unprobed)
	s.allAnswered("after a start from nothing", s.ask("http 192.0.2.1:80", 50))
}

func TestPrivilegedDetachRefusesWhileTheDaemonRuns(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(unprobed)
	if err := s.Detach(t.Context()); err == nil {
		t.Error("it took everything from under the daemon")
	}
	s.allAnswered("after the refusal", s.ask("http 192.0.2.1:80", 50))
}

// programs are the balancer's interfaces that an XDP program is attached to.
func (s *stage) programs() []string {
	s.t.Helper()
	links, err := s.Lab.Balancer.Links().LinkList()
	s.must(err)
	var attached []string
	for _, link := range links {
		if xdp := link.Attrs().Xdp; xdp != nil && xdp.Attached {
			attached = append(attached, link.Attrs().Name)
		}
	}
	return attached
}

func (s *stage) openFlows(vip string, count int) traffic.Flows {
	s.t.Helper()
	load := s.load(vip)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	flows, err := traffic.Open(ctx, load.From, load.Kind, load.To, count)
	s.must(err)
	return flows
}
