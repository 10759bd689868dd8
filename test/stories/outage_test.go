package stories

import (
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// slowest is how long two probes that fail may take to be noticed, 200 ms apart
// and each at most 200 ms long, on a busy machine.
const slowest = 2 * time.Second

const probed = `
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" { weight = 2 }
  backend "{{v4 3}}" {}
  health "http" {
    path     = "/healthz"
    interval = "200ms"
    fall     = 2
  }
}
service "dns" {
  listen  = ["192.0.2.2:53/udp", "[2001:db8:10::2]:53/udp"]
  forward = "l2"
  idle_timeout = "2s" # so long it learns who talks to whom after each change
  backend "{{v6 1}}" {}
  backend "{{v6 2}}" { weight = 2 }
  backend "{{v6 3}}" {}
  health "tcp" {
    port     = 7000
    interval = "200ms"
    fall     = 2
  }
}`

var (
	webVIPs = []string{"http 192.0.2.1:80", "http [2001:db8:10::1]:80"}
	allVIPs = append([]string{"udp 192.0.2.2:53", "udp [2001:db8:10::2]:53"}, webVIPs...)

	everyone      = weights{"backend-1": 1, "backend-2": 2, "backend-3": 1}
	everyoneAlike = weights{"backend-1": 1, "backend-2": 1, "backend-3": 1}
	survivors     = weights{"backend-1": 1, "backend-3": 1}
)

func TestPrivilegedAProbedBackendThatDiesCostsRequestsOnlyUntilTheTablesKnow(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	s.begin(probed)
	asking := s.keepAsking(allVIPs...)
	died := time.Now()
	s.backend(2).Kill()
	s.awaitBackends("web", "backend-1 up", "backend-2 down probe:", "backend-3 up")
	s.awaitBackends("dns", "backend-1 up", "backend-2 down probe:", "backend-3 up")
	outage := s.until(died, "backend-2")
	answers := asking.finish()

	s.lostOnlyIn(answers, outage)
	if took := outage.to.Sub(died); took > slowest {
		t.Errorf("it took %v until the tables knew, and should take %v at most", took, slowest)
	}
	t.Logf("the tables knew after %v", outage.to.Sub(died))
	if late := answers.Since(outage.to).Counts()["backend-2"]; late > 0 {
		t.Errorf("backend-2 answered %d requests although it is dead", late)
	}
	for _, vip := range allVIPs {
		s.spread(vip, survivors)
	}

	t.Run("and gets its share back when it recovers", func(t *testing.T) {
		s := s.in(t)
		asking := s.keepAsking(allVIPs...)
		s.must(s.backend(2).Revive())
		s.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-3 up")
		s.awaitBackends("dns", "backend-1 up", "backend-2 up", "backend-3 up")
		asking.join()
		for _, vip := range allVIPs {
			s.spread(vip, everyone)
		}
		s.nothingLost(asking.finish())
	})
}

func TestPrivilegedABackendThatSaysItIsUnwellLeavesAndReturnsUnnoticed(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	s.begin(probed)
	asking := s.keepAsking(webVIPs...)
	s.backend(2).SetWell(false)
	s.awaitBackends("web", "backend-1 up", "backend-2 down 503", "backend-3 up")
	left := s.changing("backend-2")
	asking.join()
	s.awaitBackends("dns", "backend-1 up", "backend-2 up", "backend-3 up")
	for _, vip := range webVIPs {
		s.spread(vip, survivors)
	}
	s.backend(2).SetWell(true)
	s.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-3 up")
	s.lostOnlyIn(asking.finish(), left)
	for _, vip := range allVIPs {
		s.spread(vip, everyone)
	}
}

func TestPrivilegedABackendWhoseCableIsPulledIsTakenOutAndComesBack(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1, 2)
	s.begin(probed)
	asking := s.keepAsking(allVIPs...)
	pulled := time.Now()
	s.must(s.backend(2).Unplug())
	s.awaitBackends("web", "backend-1 up", "backend-2 down", "backend-3 up")
	s.awaitBackends("dns", "backend-1 up", "backend-2 down", "backend-3 up")
	outage := s.until(pulled, "backend-2")
	if took := outage.to.Sub(pulled); took > slowest {
		t.Errorf("it took %v until the tables knew, and should take %v at most", took, slowest)
	}
	asking.join()
	s.must(s.backend(2).Plug())
	s.awaitBackends("web", "backend-1 up", "backend-2 up", "backend-3 up")
	s.awaitBackends("dns", "backend-1 up", "backend-2 up", "backend-3 up")
	for _, vip := range allVIPs {
		s.spread(vip, everyone)
	}
	s.lostOnlyIn(asking.finish(), outage)
}
