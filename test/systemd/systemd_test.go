package systemd

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAUnitIsReadWithWhatAddsToIt(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.service"),
		"[Service]\n# ExecStart=/no\nExecStart=/bin/x run\nExecReload=/bin/kill -HUP $MAINPID\nRestartSec=2\nCapabilityBoundingSet=CAP_BPF CAP_NET_RAW\n")
	write(t, path+".d/group.conf", "[Service]\nSupplementaryGroups=others\n")
	u, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	confined := []string{"setpriv", "--inh-caps=-all", "--no-new-privs", "--bounding-set", "-all,+bpf,+net_raw", "--groups", "others"}
	if got := u.command("ExecReload", 7); u.Name != "x" || !slices.Equal(got, append(confined, "/bin/kill", "-HUP", "7")) || u.pause() != 2*time.Second {
		t.Errorf("%s reloads by %q, and pauses for %v", u.Name, got, u.pause())
	}
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	for _, text := range []string{"", "ExecStart=/bin/sh -c 'x'\n", "ExecStart=/bin/x %i\n", "ExecStart=/bin/x\nExecReload=/bin/y \"z\"\n"} {
		if u, err := Read(write(t, filepath.Join(t.TempDir(), "x.service"), text)); err == nil {
			t.Errorf("%q is taken for %+v", text, u)
		}
	}
}

func TestAServiceThatIsKilledRunsAgainAndOneThatIsStoppedDoesNot(t *testing.T) {
	u, err := Read(write(t, filepath.Join(t.TempDir(), "x.service"), "ExecStart=/bin/sleep 100\nRestart=on-failure\nRestartSec=0.01\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := &service{unit: u}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	first := s.mainPID()
	if err := s.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(10 * time.Second); s.mainPID() == 0 || s.mainPID() == first; {
		select {
		case <-deadline:
			t.Fatalf("it is not started again: %d, at first %d", s.mainPID(), first)
		case <-time.After(time.Millisecond):
		}
	}
	s.end()
	if s.active() || s.mainPID() != 0 || s.restarts != 1 {
		t.Errorf("after its end it is active: %v, as %d, and was started %d times again", s.active(), s.mainPID(), s.restarts)
	}
}
