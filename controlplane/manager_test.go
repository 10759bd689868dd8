package controlplane

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// fakeManager notes what it is told, and wants to hear of life every 10 seconds.
type fakeManager struct {
	mu    sync.Mutex
	said  []string
	alive time.Time
}

func (m *fakeManager) note(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.said = append(m.said, text)
}

func (m *fakeManager) Ready() { m.note("ready") }

func (m *fakeManager) Status(text string) {
	if said := m.take(); len(said) == 0 || !slices.Contains(said, text) {
		m.note(text)
	}
}

func (m *fakeManager) Alive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.alive = time.Now()
}

func (m *fakeManager) Wake() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alive.Add(10 * time.Second)
}

func (m *fakeManager) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.said)
}

func (m *fakeManager) readyNow() bool { return slices.Contains(m.take(), "ready") }

const oneOfConsul = `
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24"]
consul {}
service "web" {
  listen = ["192.0.2.10:443/tcp"]
  slots  = 251
  consul {}
}
`

// managed starts a daemon that tells a manager.
func managed(s *stage) *fakeManager {
	m := &fakeManager{alive: time.Now()}
	s.manager = m
	s.start([]byte(oneOfConsul))
	synctest.Wait()
	return m
}

func TestTheServiceIsReadyOncePacketsAreForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.end() }()
		m := managed(s)
		if m.readyNow() {
			t.Error("it is ready before anything is known")
		}
		s.view(s.watch("web"), "10.20.0.11 passing\n10.20.0.12 critical")
		synctest.Wait()
		if !m.readyNow() || len(s.plane.Attached()) != 1 {
			t.Errorf("with the first complete view it said %q", m.take())
		}
		if last := m.take(); !slices.Contains(last, "services: 0 ok, 1 degraded, 0 down, 0 waiting") {
			t.Errorf("its status lines were %q", last)
		}

		s.end()
		s.plane = s.plane.Reopen()
		if m := managed(s); !m.readyNow() {
			t.Error("one that adopts an earlier daemon's tables is not ready at once")
		}

		s.end()
		s.boot()
		m = managed(s)
		if m.readyNow() {
			t.Error("after a boot it is ready before it forwards")
		}
		time.Sleep(recallAfter)
		synctest.Wait()
		if !m.readyNow() {
			t.Error("with Consul's last word it is not ready")
		}
		if line := strings.Join(m.take(), "\n"); !strings.Contains(line, "Consul stale since 2000-01-01T00:00:00Z") {
			t.Errorf("its status lines were %q", line)
		}
	})
}

func TestTheServiceIsReadyAtLastThoughConsulSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.end() }()
		m := managed(s)
		time.Sleep(attachPatience)
		synctest.Wait()
		if !m.readyNow() {
			t.Error("the manager would kill it for being late")
		}
	})
}

func TestTheWatchdogHearsOfALoopThatTurnsAndOfNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.end() }()
		m := managed(s)
		for range 100 { // nothing happens
			time.Sleep(9 * time.Second)
			synctest.Wait()
			if silent := time.Since(m.Wake().Add(-10 * time.Second)); silent > 10*time.Second {
				t.Fatalf("nothing was heard of it for %v", silent)
			}
		}
		release := make(chan struct{})
		s.plane.FailOn(func(dataplane.Step) error { <-release; return nil })
		s.view(s.watch("web"), "10.20.0.11 passing")
		time.Sleep(time.Minute)
		synctest.Wait()
		if silent := time.Since(m.Wake().Add(-10 * time.Second)); silent < 50*time.Second {
			t.Errorf("the loop hangs in the kernel, and something told of life %v ago", silent)
		}
		close(release)
		synctest.Wait()
		if silent := time.Since(m.Wake().Add(-10 * time.Second)); silent > 0 {
			t.Error("it goes on, and tells of no life")
		}
	})
}
