package stories

import (
	"bytes"
	"errors"
	"fmt"
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

// spoken is what a process writes, readable while it does.
type spoken struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *spoken) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(text)
}

func (s *spoken) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// speaking is a command of the program that runs on the balancer until it is
// told to end.
type speaking struct {
	*lab.Process
	out, err spoken
}

func (s *stage) speak(command ...string) *speaking {
	s.t.Helper()
	p := &speaking{}
	words := slices.Concat(s.Under, []string{s.Binary}, command)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.err
	var err error
	p.Process, err = s.Host.Start(cmd)
	s.must(err)
	return p
}

func (s *stage) awaitSaid(p *speaking, word string) {
	s.t.Helper()
	s.await("it says "+word, func() error {
		if text := p.out.String() + p.err.String(); !strings.Contains(text, word) {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
}

// interrupt is ctrl-C; the process has ended well when it returns.
func (s *stage) interrupt(p *speaking) {
	s.t.Helper()
	// One that has ended already says why.
	signalled := p.Signal(syscall.SIGINT)
	if err := errors.Join(signalled, p.Wait()); err != nil {
		s.t.Fatalf("%v: %s", err, p.err.String())
	}
}

// capture has packets captured while act is on, and returns the file.
func (s *stage) capture(act func(), flags ...string) string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "capture.pcapng")
	p := s.speak(append([]string{"capture", "-w", file, "--pin-dir", s.PinDir()}, flags...)...)
	s.awaitSaid(p, "ctrl-C ends it")
	act()
	s.interrupt(p)
	s.t.Log(strings.TrimSpace(p.err.String()))
	return file
}

// tool runs a program that reads captures.
func (s *stage) tool(name string, args ...string) []string {
	s.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		s.t.Skipf("%v: apt-get install tshark tcpdump", err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v: %s", cmd, err, stderr.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

const captured = `
service "here" {
  listen  = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  forward = "ipip"
  backend "{{v4 1}}" {}
}
service "there" {
  listen  = ["192.0.2.2:80/tcp"]
  forward = "gue"
  backend "{{v4 2}}" {}
}
service "nowhere" {
  listen  = ["192.0.2.3:80/tcp"]
  forward = "ipip"
  backend "198.51.100.99" {} # nobody has it
}
`

func TestPrivilegedACaptureShowsToWiresharkWhatThePacketsBecame(t *testing.T) {
	s := open(t, lab.Options{Backends: 1, SecondSegment: 1}, 1, 2)
	s.interfaces = `["eth0", "eth1"]`
	s.configure(captured)
	s.must(s.Start())
	s.awaitBackends("here", "backend-1 up")
	s.awaitBackends("there", "backend-2 up")
	s.await("the program is on both interfaces", func() error {
		if on := s.status().Interfaces; len(on) < 2 || on[0].Mode != "native" || on[1].Mode != "native" {
			return fmt.Errorf("it is on %+v", on)
		}
		return nil
	})

	file := s.capture(func() {
		for _, vip := range []string{"http 192.0.2.1:80", "http [2001:db8:10::1]:80", "http 192.0.2.2:80"} {
			s.allAnswered(vip, s.ask(vip, 3))
		}
		s.noneAnswered("http 192.0.2.3:80")
	})
	// Fields are of the innermost header: a tunnel's VIP comes last.
	seen := s.tool("tshark", "-r", file, "-T", "fields", "-E", "occurrence=l",
		"-e", "frame.interface_name", "-e", "frame.comment", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "tcp.dstport")
	for _, want := range []string{
		"eth0 in\tFORWARD, XDP_TX\t192.0.2.1\t\t80",
		"eth0 out\tFORWARD, XDP_TX\t192.0.2.1\t\t80",
		"eth0 in\tFORWARD, XDP_TX\t\t2001:db8:10::1\t80",
		"eth0 in\tFORWARD, XDP_REDIRECT\t192.0.2.2\t\t80",
		"eth1 out\tFORWARD, XDP_REDIRECT\t" + s.backend(2).Addr4.String() + "\t\t", // tshark does not look into GUE
		"eth0 in\tDROP_NO_BACKEND, XDP_DROP\t192.0.2.3\t\t80",
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("there is no packet %q", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(seen, "\n"))
	}
	s.judge("the capture", file)
	if lines := s.tool("tcpdump", "-n", "-r", file); len(lines) != len(seen) {
		t.Errorf("tcpdump reads %d packets of %d", len(lines), len(seen))
	}
}

func TestPrivilegedACaptureIsOverWhenItHasWhatItWasTold(t *testing.T) {
	s := open(t, lab.Options{Backends: 1}, 1)
	s.begin(strings.SplitN(captured, "service \"there\"", 2)[0])
	p := s.speak("capture", "-w", "-", "--count", "2", "--vip", "192.0.2.1:80/tcp", "--client", s.Lab.Client.Addr4.String(), "--pin-dir", s.PinDir())
	s.awaitSaid(p, "ctrl-C ends it")
	s.allAnswered("192.0.2.1:80", s.ask("http 192.0.2.1:80", 2))
	if err := p.Wait(); err != nil {
		t.Fatalf("%v: %s", err, p.err.String())
	}
	if said := p.err.String(); !strings.Contains(said, "2 packets captured, 0 records lost") {
		t.Errorf("it says %q", said)
	}
	// A second one at a time is refused, in words.
	p = s.speak("capture", "-w", "-", "--pin-dir", s.PinDir())
	s.awaitSaid(p, "ctrl-C ends it")
	_, err := s.Run(t.Context(), "capture", "-w", "/dev/null", "--pin-dir", s.PinDir())
	if err == nil || !strings.Contains(err.Error(), "somebody else captures already") {
		t.Errorf("a second capture says %v", err)
	}
	s.interrupt(p)
}

func TestPrivilegedACaptureThatIsKilledLeavesNothingOn(t *testing.T) {
	s := open(t, lab.Options{Backends: 1}, 1)
	s.begin(strings.SplitN(captured, "service \"there\"", 2)[0])
	p := s.speak("capture", "-w", "/dev/null", "--pin-dir", s.PinDir())
	s.awaitSaid(p, "ctrl-C ends it")
	p.Kill()
	s.allAnswered("192.0.2.1:80", s.ask("http 192.0.2.1:80", 20))
	// Its wish ends by itself, so that another can capture.
	s.await("another capture can begin", func() error {
		_, err := s.Run(t.Context(), "capture", "-w", "/dev/null", "--duration", "1ms", "--pin-dir", s.PinDir())
		return err
	})
}

func TestPrivilegedACaptureNeedsNoMoreThanTheRightToUseMaps(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(unprobed)
	s.Under = systemd.Under("bpf")
	file := s.capture(func() { s.allAnswered("captured", s.ask(webVIPs[0], 3)) })
	seen := s.tool("tshark", "-r", file, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment")
	if !slices.Contains(seen, "eth0 in\tFORWARD, XDP_TX") || !slices.Contains(seen, "eth0 out\tFORWARD, XDP_TX") {
		t.Errorf("seen are %q", seen)
	}
}
