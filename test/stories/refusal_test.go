package stories

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/systemd"
)

// mounts starts a command in a mount namespace of its own, after a script.
func mounts(script string) []string {
	return []string{"unshare", "--mount", "sh", "-ec", script + `; exec "$@"`, "sh"}
}

// unprivileged is root whom file modes concern.
func unprivileged(t *testing.T) []string { return asTheUnit(t) }

// unitRights are the unit's capabilities but one.
func unitRights(but string) func(*testing.T) []string {
	all := []string{"bpf", "net_admin", "perfmon", "net_raw"}
	return capable(slices.DeleteFunc(all, func(name string) bool { return name == but })...)
}

// starts is no exit code: the daemon says it, and runs.
const starts = -1

// bothInterfaces asks for the program on a second interface, too.
func bothInterfaces(s *stage) { s.interfaces = `["eth0", "eth1"]`; s.configure(unprobed) }

// occupied lets another tool have the second interface.
func occupied(how string) func(*stage) (undo func()) {
	return func(s *stage) func() {
		leave, err := s.Lab.Balancer.Occupy("eth1", how)
		s.must(err)
		theirs := s.programOn("eth1")
		bothInterfaces(s)
		return func() {
			if now := s.programOn("eth1"); now != theirs {
				s.t.Errorf("their program %d on eth1 was replaced by %d", theirs, now)
			}
			s.must(leave())
		}
	}
}

// programOn is the id of the XDP program on an interface of the balancer; 0 is none.
func (s *stage) programOn(iface string) uint32 {
	s.t.Helper()
	link, err := s.Lab.Balancer.Links().LinkByName(iface)
	s.must(err)
	if link.Attrs().Xdp == nil {
		return 0
	}
	return link.Attrs().Xdp.ProgId
}

const theirsIsThere = "attaching to eth1: another XDP program, id "

var leftToThem = []string{theirsIsThere, "is attached; remove it with `ip link set dev eth1 xdp off`, or end whatever put it there (`bpftool link` and `bpftool net` tell)"}

// refusals are starts that cannot be, or not as the file wants them. Prepare returns
// what undoes it.
var refusals = []struct {
	promise string
	under   func(*testing.T) []string
	prepare func(*stage) (undo func())
	code    int
	says    []string
}{
	{"without CAP_BPF", unitRights("bpf"), nil, 1,
		[]string{"starting: this process lacks CAP_BPF (to make maps);", "setcap cap_bpf,cap_perfmon,cap_net_admin+ep"}},
	{"without CAP_PERFMON", unitRights("perfmon"), nil, 1,
		[]string{"lacks CAP_PERFMON (to load the program);"}},
	{"without CAP_NET_ADMIN", unitRights("net_admin"), nil, 1,
		[]string{"lacks CAP_NET_ADMIN (to attach it to interfaces);"}},
	{"without any right", capable(), nil, 1,
		[]string{"lacks CAP_BPF", "and CAP_PERFMON", "and CAP_NET_ADMIN", "run it as root", "CapabilityBoundingSet="}},
	{"without CAP_NET_RAW, which nothing needs yet", unitRights("net_raw"), nil, starts,
		[]string{`"msg":"attached","interface":"eth0"`}},
	{"with another tool's program on an interface, in the driver", nil, occupied("native"), starts, leftToThem},
	{"with another tool's program on an interface, in generic mode", nil, occupied("generic"), starts, leftToThem},
	{"with another tool's program on an interface, by a link", nil, occupied("link"), starts, leftToThem},
	{"with an interface whose driver refuses native mode", nil,
		func(s *stage) func() {
			s.must(s.Lab.Balancer.RefuseXDP("eth1"))
			bothInterfaces(s)
			return func() {}
		}, starts, []string{`"level":"WARN","msg":"attached","interface":"eth1","mode":"generic","reason":"the driver refuses native mode: `}},
	{"without a BPF file system", mounted("umount --lazy /sys/fs/bpf"), nil, 1,
		[]string{"making a folder for pins: mkdir /sys/fs/bpf", "there is no BPF file system on", "mount -t bpf bpf /sys/fs/bpf"}},
	{"with a state directory that cannot be read", unprivileged,
		func(s *stage) func() { return s.chmod(s.StateDir(), 0) }, 1,
		[]string{"reading {state}/hash-secret: permission denied; {state} must belong to the user that the daemon runs as, with mode 0700: ls -ld {state}"}},
	{"with a file where the state directory should be", nil, (*stage).replaceState, 1,
		[]string{"reading {state}/hash-secret: not a directory; {state} must be a directory: move away what is there, or name another state_dir"}},
	{"with a full disk", nil, (*stage).fillState, starts,
		[]string{"no space left on device; make room there: df -h {state}"}},
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
	return func(t *testing.T) []string { return systemd.Under(capabilities...) }
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

// fillState puts the state directory, as it is, on a disk that is full.
func (s *stage) fillState() (undo func()) {
	s.t.Helper()
	secret, err := os.ReadFile(filepath.Join(s.StateDir(), "hash-secret"))
	s.must(err)
	s.must(unix.Mount("tmpfs", s.StateDir(), "tmpfs", 0, "size=16k,mode=0700"))
	s.must(os.WriteFile(filepath.Join(s.StateDir(), "hash-secret"), secret, 0o600))
	if err := os.WriteFile(filepath.Join(s.StateDir(), "junk"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		s.t.Fatalf("filling the disk ended with %v", err)
	}
	return func() { s.must(unix.Unmount(s.StateDir(), unix.MNT_DETACH)) }
}

func TestPrivilegedAStartThatCannotBeSaysWhatToDoAndLeavesWhatRuns(t *testing.T) {
	s := open(t, lab.Options{Backends: 2, SecondSegment: 1}, 1, 2)
	s.begin(unprobed)
	asking := s.keepAsking(allVIPs...)
	s.must(s.Daemon.Stop())
	for _, row := range refusals {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			s.configure(unprobed)
			if row.prepare != nil {
				defer row.prepare(s)()
			}
			if row.under != nil {
				s.Under = row.under(t)
				defer func() { s.Under = nil }()
			}
			var says []string
			for _, part := range row.says {
				says = append(says, strings.NewReplacer("{state}", s.StateDir(), "{config}", s.ConfigPath(), "{socket}", s.Socket()).Replace(part))
			}
			if row.code == starts {
				s.startsSaying(says)
			} else if missing := lacks(s.refused(row.code), says); missing != nil {
				t.Error(missing)
			}
			for _, vip := range allVIPs {
				s.allAnswered(vip, s.ask(vip, 20))
			}
		})
	}
	s.configure(unprobed)
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	s.nothingLost(asking.finish())
}

// startsSaying starts the daemon, awaits that it is ready and has said all this, and
// stops it.
func (s *stage) startsSaying(parts []string) {
	s.t.Helper()
	before := len(s.Log())
	s.must(s.Start())
	s.await("it is attached to eth0 and says all", func() error {
		now, err := s.Status(s.t.Context())
		if err == nil {
			err = lacks(s.Log()[before:], parts)
		}
		if err == nil && !slices.ContainsFunc(now.Interfaces, func(in api.Interface) bool { return in.Name == "eth0" && in.Mode == "native" }) {
			err = fmt.Errorf("it is on %+v", now.Interfaces)
		}
		return err
	})
	s.must(s.Daemon.Stop())
}

// lacks tells what of it was not said, if anything.
func lacks(said string, parts []string) error {
	for _, part := range parts {
		if !strings.Contains(said, part) {
			return fmt.Errorf("it said %q, want %q", said, part)
		}
	}
	return nil
}

func TestPrivilegedAStartOnAReadOnlyBPFFileSystemSaysWhatToDo(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1)
	s.configure(web)
	s.Under = mounts("mount --bind /sys/fs/bpf /sys/fs/bpf; mount -o remount,bind,ro /sys/fs/bpf")
	if missing := lacks(s.refused(1), []string{"read-only file system; ", "ReadWritePaths=/sys/fs/bpf"}); missing != nil {
		t.Error(missing)
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
