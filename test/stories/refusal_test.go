package stories

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// mounts starts a command in a mount namespace of its own, after a script.
func mounts(script string) []string {
	return []string{"unshare", "--mount", "sh", "-ec", script + `; exec "$@"`, "sh"}
}

// unprivileged is root whom file modes concern.
func unprivileged(t *testing.T) []string { return asTheUnit(t) }

// refusals are starts that cannot be. Prepare returns what undoes it.
var refusals = []struct {
	promise string
	under   func(*testing.T) []string
	prepare func(*stage) (undo func())
	code    int
	says    []string
}{
	{"without the right to make maps", capable("net_admin", "perfmon"), nil, 1,
		[]string{"starting: this process lacks CAP_BPF (to make maps);", "setcap cap_bpf,cap_perfmon,cap_net_admin+ep"}},
	{"without the right to load the program", capable("net_admin", "bpf"), nil, 1,
		[]string{"lacks CAP_PERFMON (to load the program);"}},
	{"without the right to attach it", capable("perfmon", "bpf"), nil, 1,
		[]string{"lacks CAP_NET_ADMIN (to attach it to interfaces);"}},
	{"without any right", capable(), nil, 1,
		[]string{"lacks CAP_BPF", "and CAP_PERFMON", "and CAP_NET_ADMIN", "run it as root", "CapabilityBoundingSet="}},
	{"without a BPF file system", mounted("umount --lazy /sys/fs/bpf"), nil, 1,
		[]string{"making a folder for pins: mkdir /sys/fs/bpf", "there is no BPF file system on", "mount -t bpf bpf /sys/fs/bpf"}},
	{"with one that is read-only", mounted("mount --bind /sys/fs/bpf /sys/fs/bpf; mount -o remount,bind,ro /sys/fs/bpf"),
		func(s *stage) func() { s.must(s.Detach(s.t.Context())); return func() {} }, 1,
		[]string{"read-only file system; ", "ReadWritePaths=/sys/fs/bpf"}},
	{"with a state directory that cannot be read", unprivileged,
		func(s *stage) func() { return s.chmod(s.StateDir(), 0) }, 1,
		[]string{"reading {state}/hash-secret: permission denied; {state} must belong to the user that the daemon runs as, with mode 0700: ls -ld {state}"}},
	{"with a file where the state directory should be", nil, (*stage).replaceState, 1,
		[]string{"reading {state}/hash-secret: not a directory; {state} must be a directory: move away what is there, or name another state_dir"}},
	{"with a configuration that cannot be read", unprivileged,
		func(s *stage) func() { return s.chmod(s.ConfigPath(), 0) }, 5,
		[]string{"{config}: the file cannot be read: permission denied", "the user that runs this must be allowed to"}},
	{"with a configuration that is not there", nil,
		func(s *stage) func() { s.must(os.Remove(s.ConfigPath())); return func() {} }, 5,
		[]string{"{config}: the file cannot be read: no such file or directory", "write it there, or name another one"}},
	{"with something else in the socket's place", nil,
		func(s *stage) func() {
			s.must(os.WriteFile(s.Socket(), []byte("a diary"), 0o600))
			return func() { s.must(os.Remove(s.Socket())) }
		}, 1, []string{"opening the socket: {socket} is there and is no socket; move it away, or name another place with --socket"}},
	{"with a place for the socket that cannot be written to", unprivileged,
		func(s *stage) func() { return s.chmod(filepath.Dir(s.Socket()), 0o500) }, 1,
		[]string{"opening the socket: {socket}: permission denied; whom the daemon runs as must be able to write to"}},
}

func capable(capabilities ...string) func(*testing.T) []string {
	return func(t *testing.T) []string { return under(capabilities...) }
}

func mounted(script string) func(*testing.T) []string {
	return func(*testing.T) []string { return mounts(script) }
}

func (s *stage) chmod(path string, mode os.FileMode) (undo func()) {
	s.t.Helper()
	before, err := os.Stat(path)
	s.must(err)
	s.must(os.Chmod(path, mode))
	return func() { s.must(os.Chmod(path, before.Mode())) }
}

func (s *stage) replaceState() (undo func()) {
	s.t.Helper()
	s.must(os.Rename(s.StateDir(), s.StateDir()+".away"))
	s.must(os.WriteFile(s.StateDir(), nil, 0o600))
	return func() {
		s.must(os.Remove(s.StateDir()))
		s.must(os.Rename(s.StateDir()+".away", s.StateDir()))
	}
}

func TestPrivilegedAStartThatCannotBeSaysWhatToDoAndLeavesWhatRuns(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	for _, row := range refusals {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			s.begin(unprobed)
			s.must(s.Daemon.Stop())
			if row.prepare != nil {
				defer row.prepare(s)()
			}
			if row.under != nil {
				s.Under = row.under(t)
				defer func() { s.Under = nil }()
			}
			said := s.refused(row.code)
			for _, part := range row.says {
				part = strings.NewReplacer("{state}", s.StateDir(), "{config}", s.ConfigPath(), "{socket}", s.Socket()).Replace(part)
				if !strings.Contains(said, part) {
					t.Errorf("it said %q, want %q", said, part)
				}
			}
			if strings.Contains(row.promise, "read-only") {
				return // nothing was left to run
			}
			for _, vip := range allVIPs {
				s.allAnswered(vip, s.ask(vip, 20))
			}
		})
	}
}

// refused starts the daemon, which must end by itself with the exit code, and
// returns what it wrote.
func (s *stage) refused(code int) string {
	s.t.Helper()
	before := len(s.Log())
	s.must(s.Start())
	var exit *exec.ExitError
	if err := s.Daemon.Wait(); !errors.As(err, &exit) || exit.ExitCode() != code {
		s.t.Errorf("it ended with %v, want exit code %d", err, code)
	}
	return s.Log()[before:]
}

func TestPrivilegedASecondDaemonIsRefusedWithThePidOfTheFirstWhichGoesOn(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(unprobed)
	first := s.Daemon
	said := s.refused(1)
	s.Daemon = first
	if want := fmt.Sprintf("taking over %s: another daemon runs as pid %d; stop it first", s.PinDir(), first.PID()); !strings.Contains(said, want) {
		t.Errorf("it said %q, want %q", said, want)
	}
	s.reload(strings.ReplaceAll(unprobed, "weight = 2", "weight = 3"))
	for _, vip := range allVIPs {
		s.allAnswered(vip, s.ask(vip, 20))
	}
}

func TestPrivilegedAFullDiskIsToldOfOnceAndHoldsNothingUp(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.must(os.MkdirAll(s.StateDir(), 0o700))
	s.must(unix.Mount("tmpfs", s.StateDir(), "tmpfs", 0, "size=16k,mode=0700"))
	t.Cleanup(func() {
		if err := unix.Unmount(s.StateDir(), unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s.begin(unprobed)
	asking := s.keepAsking(allVIPs...)
	junk := filepath.Join(s.StateDir(), "junk")
	fill := func() {
		if err := os.WriteFile(junk, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling the disk ended with %v", err)
		}
	}
	fill()
	other := strings.ReplaceAll(unprobed, "weight = 2", "weight = 3")
	s.reload(other)
	s.awaitWarning("cannot be kept for a start without it: writing " + filepath.Join(s.StateDir(), "last-known-good.json") +
		": no space left on device; make room there: df -h " + s.StateDir())
	s.spread(webVIPs[0], weights{"backend-1": 1, "backend-2": 3})

	t.Run("a drain that cannot be kept is not promised", func(t *testing.T) {
		s := s.in(t)
		_, err := s.Run(t.Context(), "drain", "web", s.backend(2).Addr6.String(), "--socket", s.Socket())
		if err == nil || !strings.Contains(err.Error(), "keeping the overrides: writing") || !strings.Contains(err.Error(), "make room there") {
			t.Errorf("it says %v", err)
		}
	})
	s.reload(unprobed)
	s.reload(other)
	if n := strings.Count(s.Log(), "no space left on device"); n != 1 {
		t.Errorf("the log tells of it %d times", n)
	}
	t.Run("a start on a full disk forwards", func(t *testing.T) {
		s := s.in(t)
		s.Daemon.Kill()
		s.must(os.Remove(junk))
		s.must(os.Remove(filepath.Join(s.StateDir(), "hash-secret")))
		fill()
		s.must(s.Start())
		_, err := s.AwaitReady(t.Context())
		s.must(err)
		s.spread(webVIPs[0], weights{"backend-1": 1, "backend-2": 3})
	})
	t.Run("and once there is room, all is kept", func(t *testing.T) {
		s := s.in(t)
		s.must(os.Remove(junk))
		s.await("nothing is warned of", func() error {
			if now := s.status(); len(now.Warnings) > 0 {
				return fmt.Errorf("it warns of %q", now.Warnings)
			}
			return nil
		})
		if !strings.Contains(s.Log(), "what is known is kept again") {
			t.Error("the log does not tell of it")
		}
	})
	s.nothingLost(asking.finish())
}
