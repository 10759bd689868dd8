package stories

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// sshd is named by its path, without which it refuses to start.
const (
	sshd     = "/usr/sbin/sshd"
	sshdPort = 2200
)

// makeKeys makes what a fleet of SSH servers has in common, and a key of a client.
func (s *stage) makeKeys() (dir string) {
	s.t.Helper()
	need(s.t, "ssh-keygen", "openssh-client")
	dir = filepath.Join(s.Lab.Dir, "ssh")
	s.must(os.Mkdir(dir, 0o700))
	for _, name := range []string{"fleet", "client"} {
		_, err := s.Lab.Client.Run(s.t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
		s.must(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "fleet.pub"))
	s.must(err)
	s.must(os.WriteFile(filepath.Join(dir, "known"), append([]byte("fleet "), key...), 0o600))
	s.must(os.WriteFile(filepath.Join(dir, "sshd_config"), fmt.Appendf(nil, `Port %d
HostKey %[2]s/fleet
AuthorizedKeysFile %[2]s/client.pub
PidFile none
# They are below a directory that everybody may write to.
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
# A session whose client is gone does not outlive the story by much.
ClientAliveInterval 60
ClientAliveCountMax 1
`, sshdPort, dir), 0o600))
	return dir
}

// ssh is a client's command, for a machine where nobody has configured anything.
func ssh(dir string, to netip.Addr, args ...string) []string {
	options := []string{"ssh", "-F", "none", "-i", filepath.Join(dir, "client"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "HostKeyAlias=fleet", "-o", "UserKnownHostsFile=" + filepath.Join(dir, "known"), "-o", "GlobalKnownHostsFile=none",
		"-o", "StrictHostKeyChecking=yes", "-l", "root"}
	return append(append(options, to.String()), args...)
}

const endOfText = 4 // Ctrl-D

// terminal is a session with a terminal, as a person has open all day.
type terminal struct {
	*lab.Process
	keys   io.WriteCloser
	screen *bufio.Reader
}

// logIn returns when the terminal says back what is typed.
func (s *stage) logIn(dir string, to netip.Addr) *terminal {
	s.t.Helper()
	command := ssh(dir, to, "-tt", "stty -echo && echo ready && exec cat")
	cmd := exec.Command(command[0], command[1:]...)
	keys, err := cmd.StdinPipe()
	s.must(err)
	screen, written, err := os.Pipe() // which has deadlines, and outlives the process
	s.must(err)
	said := &spoken{}
	cmd.Stdout, cmd.Stderr = written, said
	term := &terminal{keys: keys, screen: bufio.NewReader(screen)}
	term.Process, err = s.Lab.Client.Start(cmd)
	s.must(err)
	written.Close()
	s.t.Cleanup(func() { screen.Close() })
	s.must(screen.SetReadDeadline(time.Now().Add(20 * patience))) // of all that is read
	if err := term.reads("ready"); err != nil {
		s.t.Fatalf("logging in: %v: %s", err, said)
	}
	return term
}

func (t *terminal) reads(want string) error {
	line, err := t.screen.ReadString('\n')
	if line = strings.TrimRight(line, "\r\n"); err == nil && line != want {
		err = fmt.Errorf("the terminal says %q, want %q", line, want)
	}
	return err
}

// answers fails the test if a terminal does not.
func (s *stage) answers(when string, terminals []*terminal) {
	s.t.Helper()
	for i, t := range terminals {
		_, err := fmt.Fprintln(t.keys, when)
		if err == nil {
			err = t.reads(when)
		}
		if err != nil {
			s.t.Errorf("%s, terminal %d: %v", when, i+1, err)
		}
	}
}

// runsBySSH returns what a command says, of which it says a lot.
func (s *stage) runsBySSH(dir string, to netip.Addr) {
	s.t.Helper()
	const long = 4 << 20
	command := ssh(dir, to, fmt.Sprintf("echo $SSH_CONNECTION; head -c %d /dev/zero", long))
	out, err := s.Lab.Client.Run(s.t.Context(), command[0], command[1:]...)
	s.must(err)
	line, zeros, _ := strings.Cut(string(out), "\n")
	if len(zeros) != long {
		s.t.Errorf("by %s, of %d bytes %d came", to, long, len(zeros))
	}
	ends := strings.Fields(line)
	if len(ends) != 4 {
		s.t.Fatalf("by %s, sshd says that its ends are %q", to, line)
	}
	from, err := netip.ParseAddr(ends[0])
	if err != nil || !slices.Contains(s.Host.Addrs(), from) || ends[3] != fmt.Sprint(sshdPort) {
		s.t.Errorf("by %s, sshd says that its ends are %q; one should be an address of the balancer", to, line)
	}
}

func TestPrivilegedSSHByNATOutlivesTheDaemon(t *testing.T) {
	need(t, sshd, "openssh-server")
	s := open(t, lab.Options{Backends: 2})
	dir := s.makeKeys()
	s.must(os.MkdirAll("/run/sshd", 0o755)) // as its unit does
	s.begin(fmt.Sprintf(`
service "ssh" {
  listen  = ["192.0.2.1:22/tcp", "[2001:db8:10::1]:22/tcp"]
  forward = "nat"
  slots   = 251
  backend "{{v4 1}}:%d" {}
  backend "{{v4 2}}:%[1]d" {}
}`, sshdPort))
	for _, h := range s.Lab.Backends {
		s.serveBy(h, sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
		s.awaitServer(h, netip.AddrPortFrom(h.Addr4, sshdPort))
	}
	var terminals []*terminal
	for _, vip := range []netip.Addr{lab.VIP4(1), lab.VIP6(1), lab.VIP4(1), lab.VIP6(1)} {
		terminals = append(terminals, s.logIn(dir, vip))
	}
	s.runsBySSH(dir, lab.VIP6(1))
	s.answers("at first", terminals)
	s.Daemon.Kill()
	s.answers("without a daemon", terminals)
	s.runsBySSH(dir, lab.VIP4(1))
	s.must(s.Start())
	_, err := s.AwaitReady(t.Context())
	s.must(err)
	s.answers("under the next daemon", terminals)
	_, err = s.Run(t.Context(), "drain", "ssh", s.backend(1).Addr4.String(), "--socket", s.Socket())
	s.must(err)
	s.answers("while a backend drains", terminals)
	s.mayBeSilent(len(terminals))
	for i, term := range terminals {
		_, err := term.keys.Write([]byte{endOfText})
		s.must(err)
		if err := term.Wait(); err != nil {
			t.Errorf("terminal %d ends: %v", i+1, err)
		}
	}
}

// mayBeSilent fails the test unless so many connections live on for more than an hour
// without a packet.
func (s *stage) mayBeSilent(want int) {
	s.t.Helper()
	flows, err := s.Flows(s.t.Context(), "--state", "established")
	s.must(err)
	if len(flows.Flows) != want {
		s.t.Errorf("%d connections are established, want %d: %v", len(flows.Flows), want, flows.Flows)
	}
	for _, f := range flows.Flows {
		if left := time.Until(f.Expires); left < time.Hour {
			s.t.Errorf("the connection of %s is over after %v of silence", f.Client, left)
		}
	}
}
