package stories

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/systemd"
)

// serviceManager is the other end of NOTIFY_SOCKET.
type serviceManager struct {
	mu   sync.Mutex
	said []string
}

// manage makes the daemons of a stage speak to a manager.
func manage(s *stage) *serviceManager {
	s.t.Helper()
	socket := filepath.Join(s.t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	s.must(err)
	m, done := &serviceManager{}, make(chan struct{})
	go func() {
		defer close(done)
		text := make([]byte, 4096)
		for {
			n, err := conn.Read(text)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.said = append(m.said, strings.Split(string(text[:n]), "\n")...)
			m.mu.Unlock()
		}
	}()
	s.t.Cleanup(func() { conn.Close(); <-done })
	s.t.Setenv("NOTIFY_SOCKET", socket)
	s.t.Setenv("WATCHDOG_USEC", "400000")
	return m
}

// awaitAll waits until all of these were said, in this order.
func (m *serviceManager) awaitAll(s *stage, want ...string) {
	s.t.Helper()
	s.await(fmt.Sprintf("the manager hears %q", want), func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		left := want
		for _, line := range m.said {
			if len(left) > 0 && strings.HasPrefix(line, left[0]) {
				left = left[1:]
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("it has heard %q", m.said)
		}
		return nil
	})
}

func TestPrivilegedTheServiceManagerHearsHowTheDaemonIs(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	m := manage(s)
	s.begin(unprobed)
	m.awaitAll(s, "STATUS=services: 2 ok", "READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1")
	s.must(s.Reload())
	m.awaitAll(s, "READY=1", "RELOADING=1", "MONOTONIC_USEC=", "READY=1")
	s.must(s.Daemon.Stop())
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.said, "STOPPING=1") {
		t.Errorf("at the end it has heard %q", m.said)
	}
}

func TestPrivilegedADaemonThatHangsIsNoLongerHeardOf(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	m := manage(s)
	s.begin(unprobed)
	m.awaitAll(s, "READY=1", "WATCHDOG=1")
	s.must(s.Daemon.Signal(syscall.SIGSTOP)) // as a manager that watches finds it
	s.allAnswered("without it", s.ask("http 192.0.2.1:80", 50))
	s.Daemon.Kill()
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	m.awaitAll(s, "READY=1", "WATCHDOG=1", "READY=1", "WATCHDOG=1")
	s.allAnswered("with the next", s.ask("http 192.0.2.1:80", 50))
}

// asTheUnit runs the daemon with the unit's capabilities and no others.
func asTheUnit(t *testing.T) []string {
	t.Helper()
	needsSetpriv(t)
	unit, err := systemd.Read("../../packaging/pointsman.service")
	if err != nil {
		t.Fatal(err)
	}
	return unit.Confined()
}

func needsSetpriv(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("setpriv"); err != nil {
		t.Skip("setpriv is not here; Debian has it in the package util-linux")
	}
}

func TestPrivilegedTheCapabilitiesOfTheUnitAreEnough(t *testing.T) {
	s := open(t, lab.Options{Backends: 2, SecondSegment: 1}, 1, 2)
	s.interfaces = `["eth0", "eth1"]`
	s.Under = asTheUnit(t)
	s.begin(probedTwice)
	for _, vip := range allVIPs {
		s.allAnswered(vip, s.ask(vip, 50))
	}
	if log := s.Log(); strings.Contains(log, "are dropped") {
		t.Errorf("fragments are not held:\n%s", log)
	}
	s.Daemon.Kill()
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	s.reload(strings.ReplaceAll(probedTwice, "weight = 2", "weight = 3"))
	s.must(s.Daemon.Stop())

	// Larger limits need other maps, which take over what these hold.
	s.configure("limits { flows = 2097152 }\n" + probedTwice)
	s.must(s.Start())
	_, err = s.AwaitReady(t.Context())
	s.must(err)
	if !strings.Contains(s.Log(), `"the maps of an earlier build are taken over","layout":3,"to":3,"lost":"nothing"`) {
		t.Error("nothing was taken over, or something was lost")
	}
	s.must(s.Daemon.Stop())
	for _, vip := range allVIPs {
		s.allAnswered("afterwards, "+vip, s.ask(vip, 50))
	}
}

// probedTwice is unprobed with probes.
var probedTwice = strings.NewReplacer("\n}", "\n  health \"tcp\" {\n    port = 7000\n    interval = \"500ms\"\n  }\n}").Replace(unprobed)

func TestPrivilegedOnExitDetachTakesEverythingAway(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.Flags = []string{"--on-exit", "detach"}
	s.begin(unprobed)
	s.must(s.Daemon.Stop())
	if left := s.programs(); len(left) > 0 {
		t.Errorf("programs are still attached to %v", left)
	}
	if _, err := os.Stat(s.PinDir()); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", s.PinDir(), err)
	}
	if log := s.Log(); !strings.Contains(log, `"msg":"detached"`) {
		t.Errorf("the log says nothing of it:\n%s", log)
	}
	s.noneAnswered("http 192.0.2.1:80")
}
