package controlplane

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

// The file of a daemon, and that of the one after it, of another build.
const (
	fileBefore = `
interfaces = ["eth0", "eth1"]
vip_pools  = ["192.0.2.0/24"]
service "old" {
  listen = ["192.0.2.12:443/tcp"]
  slots  = 251
  backend "10.20.0.11" {}
}
service "web" {
  listen = ["192.0.2.10:443/tcp", "192.0.2.11:443/udp"]
  slots  = 251
  backend "10.20.0.11" {}
  backend "10.20.0.12" {}
}
`
	fileAfter = `
interfaces = ["eth0", "eth1"]
vip_pools  = ["192.0.2.0/24"]
service "new" {
  listen = ["192.0.2.13:443/tcp"]
  slots  = 251
  backend "10.20.0.13" {}
}
service "web" {
  listen = ["192.0.2.10:443/tcp", "192.0.2.11:443/udp"]
  slots  = 251
  backend "10.20.0.12" {}
  backend "10.20.0.13" {}
}
`
)

// TestAFaultBetweenAnyTwoStepsOfAStartIsMadeGood starts a build with other maps and
// another file. Carrying over, writes, attaching and putting the maps in place fail at
// each point in turn: once, and the daemon goes on, or from then on, and another
// starts.
func TestAFaultBetweenAnyTwoStepsOfAStartIsMadeGood(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("and the daemon dies: %t", dies), func(t *testing.T) {
			met := map[string]bool{}
			for at, hit := 0, true; hit; at++ {
				synctest.Test(t, func(t *testing.T) { hit = startWithFault(t, at, dies, met) })
			}
			for _, place := range []fake.Place{fake.Migrating, fake.Staging, fake.Attaching, fake.Promoting, "writing"} {
				if !met[string(place)] {
					t.Errorf("nothing ever failed in %s", place)
				}
			}
		})
	}
}

// fault fails at one point, or from there on.
type fault struct {
	at, seen int
	lasts    bool
	met      map[string]bool // where it failed
}

func (f *fault) fail(place fake.Place) error {
	f.seen++
	if f.seen-1 == f.at || f.lasts && f.seen > f.at {
		f.met[string(place)] = true
		return fake.ErrInjected
	}
	return nil
}

// startWithFault tells whether there was such a point.
func startWithFault(t *testing.T, at int, dies bool, met map[string]bool) bool {
	s := newStage(t)
	defer func() { s.end() }()
	s.start([]byte(fileBefore))
	synctest.Wait()
	s.end()
	f := &fault{at: at, lasts: dies, met: met}
	s.plane.FailAt(f.fail)
	next, err := s.plane.Migrate()
	if err != nil { // such a daemon ends at once, and leaves what forwards
		s.forwards(t, at, "192.0.2.10:443/tcp", "192.0.2.11:443/udp", "192.0.2.12:443/tcp")
		s.plane.FailAt(nil)
		if next, err = s.plane.Migrate(); err != nil {
			t.Fatal(err)
		}
	}
	s.plane = next
	s.plane.FailAt(f.fail)
	s.plane.FailOn(func(dataplane.Step) error { return f.fail("writing") })
	s.start([]byte(fileAfter))
	time.Sleep(time.Minute)
	s.forwards(t, at, "192.0.2.10:443/tcp", "192.0.2.11:443/udp")
	hit := f.seen > at
	if dies {
		s.end()
		s.plane = s.plane.Reopen()
		s.start([]byte(fileAfter))
	}
	time.Sleep(2 * time.Hour) // and all that moves has settled
	synctest.Wait()
	s.isAsAFreshStart(t, at)
	return hit
}

// forwards tells of VIPs that the program on an interface would not forward.
func (s *stage) forwards(t *testing.T, at int, vips ...string) {
	t.Helper()
	for _, name := range []string{"eth0", "eth1"} {
		seen := s.plane.Seen(name)
		if seen == nil {
			t.Fatalf("with a fault at %d, nothing is attached to %s", at, name)
		}
		leads := map[string]bool{}
		for vip, entry := range seen.VIPs {
			leads[vip.String()] = true
			for _, owner := range seen.Slots[entry.FirstSlot:][:entry.SlotCount] {
				if backend, known := seen.Backends[owner]; !known || backend.Dead {
					t.Fatalf("with a fault at %d, %s has slots of backend %d on %s", at, vip, owner, name)
				}
			}
		}
		for _, vip := range vips {
			if !leads[vip] {
				t.Errorf("with a fault at %d, %s is not forwarded on %s", at, vip, name)
			}
		}
	}
}

// isAsAFreshStart holds what each program sees against what a daemon would make of an
// empty kernel.
func (s *stage) isAsAFreshStart(t *testing.T, at int) {
	t.Helper()
	fresh := newStage(t)
	defer func() { fresh.end() }()
	fresh.start([]byte(fileAfter))
	synctest.Wait()
	for _, name := range []string{"eth0", "eth1"} {
		seen, want := s.plane.Seen(name), fresh.plane.Seen(name)
		if seen == nil {
			t.Fatalf("with a fault at %d, nothing is attached to %s in the end", at, name)
		}
		if differences := fake.Differences(fake.Portrait(seen), fake.Portrait(want)); len(differences) > 0 {
			t.Fatalf("with a fault at %d, the program on %s sees (-), and should see (+):\n%s", at, name, strings.Join(differences, "\n"))
		}
	}
	if warnings := s.daemon.Status().Warnings; len(warnings) > 0 {
		t.Errorf("with a fault at %d, warnings stay: %q", at, warnings)
	}
}
