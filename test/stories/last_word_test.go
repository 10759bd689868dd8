package stories

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

func TestPrivilegedAHostThatBootsWithoutConsulForwardsByConsulsLastWord(t *testing.T) {
	s := openDiscovered(t)
	s.must(s.agent().UpdateTTL("backend-2", "", api.HealthCritical))
	s.awaitBackends("web", "backend-1 up", "backend-2 down critical in Consul", "backend-3 up")
	began := time.Now()
	s.must(s.Daemon.Stop())
	s.must(s.Detach(t.Context())) // as a boot leaves the kernel
	s.must(s.Consul.Kill())

	s.must(s.Start())
	s.awaitBackends("web", "backend-1 up", "backend-2 down critical in Consul", "backend-3 up")
	for _, vip := range webVIPs {
		s.spread(vip, survivors)
	}
	s.awaitWarning("Consul's view of service web is held (unreachable), stale since " + began.UTC().Format("2006-"))
	now := s.status()
	if since := now.Consul.StaleSince; now.Consul.State != "stale" || since == nil || since.After(began) || began.Sub(*since) > time.Hour {
		t.Errorf("Consul is %s since %v, its last word came before %v", now.Consul.State, since, began)
	}
	services, err := s.Services(t.Context())
	s.must(err)
	if since := services.Services[0].StaleSince; since == nil || since.After(began) {
		t.Errorf("the service's view is stale since %v", since)
	}

	t.Run("and follows what it says when it is back", func(t *testing.T) {
		s := s.in(t)
		s.must(s.Consul.Restart(t.Context()))
		s.registerAll()
		s.awaitBackends("web", allUp...)
		s.await("Consul's view is confirmed", func() error {
			if now, err := s.Status(t.Context()); err != nil || now.Consul.State != "ok" || now.Consul.StaleSince != nil {
				return fmt.Errorf("Consul is %+v, %w", now.Consul, err)
			}
			return nil
		})
		for _, vip := range webVIPs {
			s.spread(vip, everyone)
		}
	})
}

func TestPrivilegedADaemonThatIsKilledWhileConsulIsAwayStillFollowsProbes(t *testing.T) {
	s := open3Probed(t)
	asking := s.keepAsking(webVIPs...)
	s.must(s.Consul.Kill())
	s.awaitWarning("Consul's view of service web is held (unreachable), stale since")
	s.Daemon.Kill()
	s.must(s.Start())
	s.awaitBackends("web", allUp...)
	died := time.Now()
	s.backend(2).Kill()
	s.awaitBackends("web", "backend-1 up", "backend-2 down probe:", "backend-3 up")
	outage := s.until(died, "backend-2")
	asking.join()
	for _, vip := range webVIPs {
		s.spread(vip, survivors)
	}
	s.lostOnlyIn(asking.finish(), outage)
}

// open3Probed is the stage with a real agent and the balancer's own probes.
func open3Probed(t *testing.T) *stage {
	t.Helper()
	s := openDiscovered(t)
	s.reload(discovered[:len(discovered)-1] + `  health "http" {
    path     = "/healthz"
    interval = "500ms"
    fall     = 2
  }
}`)
	s.awaitBackends("web", allUp...)
	// It is written a moment after it is followed; who kills the daemon before loses it.
	s.await("what Consul has said is kept", func() error {
		kept, err := os.ReadFile(filepath.Join(s.StateDir(), "last-known-good.json"))
		for _, b := range s.Lab.Backends {
			if err == nil && !strings.Contains(string(kept), b.Addr4.String()) {
				err = fmt.Errorf("%s is not in it", b.Name)
			}
		}
		return err
	})
	return s
}
