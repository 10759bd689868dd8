package stories

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/pointsman/pointsman/test/consul"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/script"
)

// walker is a stage whose hosts have places of their own: what a document calls
// /etc/pointsman is the host's, and not this machine's.
type walker struct {
	*stage
	homes map[string]*home
	env   string
}

// home is a host with a mount namespace, which a process holds.
type home struct {
	*lab.Host
	holder *lab.Process
	daemon *lab.Process
	behind *lab.Process // what was typed with &
	said   *os.File     // what that prints
	read   int          // so much of it
}

// ownPlaces gives a host what the packages and systemd would: places of its own for
// files, sockets, state and pins, and the program.
const ownPlaces = `
mount -t tmpfs none "$1"
cp -a /etc "$1"/etc && mkdir -p "$1"/etc/pointsman "$1"/etc/consul.d && rm -rf "$1"/etc/pointsman/* && mount --bind "$1"/etc /etc
mount -t tmpfs none /var/lib && mkdir -m 700 /var/lib/pointsman
mount -t tmpfs none /usr/local/bin && cp "$2" /usr/local/bin/pointsman
mount -t tmpfs none /run && mkdir /run/pointsman
mount -t bpf none /sys/fs/bpf
echo ready
exec sleep infinity`

func newWalker(s *stage, hosts ...*lab.Host) *walker {
	s.t.Helper()
	w := &walker{stage: s, homes: map[string]*home{}}
	consulBinary, err := consul.Find(s.t.Context(), s.t.Logf)
	s.must(err)
	w.env = fmt.Sprintf("export PATH=/usr/local/bin:%s:$PATH CONSUL_HTTP_ADDR=%s; ", filepath.Dir(consulBinary), s.Consul.HTTP)
	for _, h := range hosts {
		places := filepath.Join(s.Lab.Dir, "places-"+h.Name)
		s.must(os.Mkdir(places, 0o700))
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", ownPlaces, "sh", places, program)
		read, write, err := os.Pipe()
		s.must(err)
		cmd.Stdout, cmd.Stderr = write, os.Stderr
		holder, err := h.Start(cmd)
		write.Close()
		s.must(err)
		if said, err := bufio.NewReader(read).ReadString('\n'); said != "ready\n" {
			s.t.Fatalf("making the places of %s: %q, %v", h.Name, said, err)
		}
		read.Close()
		w.homes[h.Name] = &home{Host: h, holder: holder}
	}
	return w
}

// at is a command in the host's places.
func (w *walker) at(h *home, line ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--mount=/proc/%d/ns/mnt", h.holder.PID()), "--"}, line...)...)
}

// types runs a line at the host's shell, and returns all that it prints.
func (w *walker) types(h *home, line string) string {
	w.t.Helper()
	if verb, is := strings.CutPrefix(line, "systemctl "); is {
		return w.systemctl(h, strings.Fields(verb))
	}
	if line == "wait" {
		select {
		case <-h.behind.Done():
		case <-time.After(patience):
			w.t.Fatalf("%s waits in vain; so far: %s", h.Name, w.readOn(h))
		}
		return w.readOn(h)
	}
	cmd := w.at(h, "sh", "-c", w.env+line)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	process, err := h.Start(cmd)
	w.must(err)
	_ = process.Wait() // what it prints tells
	return said.String()
}

// begins types a line that ends with &. What it prints is read on by wait.
func (w *walker) begins(h *home, step script.Step) {
	w.t.Helper()
	var err error
	h.said, err = os.CreateTemp(w.Lab.Dir, "behind-")
	w.must(err)
	h.read = 0
	cmd := w.at(h, "sh", "-c", w.env+strings.TrimSuffix(step.Command, "&"))
	cmd.Stdout, cmd.Stderr = h.said, h.said
	h.behind, err = h.Start(cmd)
	w.must(err)
	w.must(w.eventually(func() error {
		text, err := os.ReadFile(h.said.Name())
		if err == nil && !script.Shows(step.Want, string(text)) {
			err = fmt.Errorf("%q shows %q", step.Command, text)
		}
		return err
	}))
	w.readOn(h)
}

// readOn is what is new of what runs behind.
func (w *walker) readOn(h *home) string {
	w.t.Helper()
	text, err := os.ReadFile(h.said.Name())
	w.must(err)
	fresh := string(text[h.read:])
	h.read = len(text)
	return fresh
}

// systemctl does with the unit what systemd would, as far as a document asks for it:
// namespaces have no systemd. That the unit works under one is shown in test/unit.
func (w *walker) systemctl(h *home, words []string) string {
	w.t.Helper()
	if verb := words[0]; words[len(words)-1] == "nginx" { // the lab's own servers stand for it
		if verb == "stop" {
			h.Kill()
		} else {
			w.must(h.Revive())
		}
		return ""
	}
	switch verb := words[0]; verb {
	case "stop", "restart":
		w.must(h.daemon.Stop())
		if verb == "stop" {
			return ""
		}
		w.startDaemon(h)
	case "enable", "start":
		w.startDaemon(h)
	default:
		w.t.Fatalf("systemctl %s is not understood here", verb)
	}
	return ""
}

func (w *walker) startDaemon(h *home) {
	w.t.Helper()
	log, err := os.OpenFile(w.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	defer log.Close()
	cmd := w.at(h, append(asTheUnit(w.t), "sh", "-c", w.env+"exec pointsman run")...)
	cmd.Stdout, cmd.Stderr = log, log
	h.daemon, err = h.Start(cmd)
	w.must(err)
	// systemd waits for READY, which the daemon says when packets are forwarded.
	deadline := time.After(longStart)
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		said := w.types(h, "curl -sf http://127.0.0.1:9731/readyz > /dev/null && echo ready")
		if said == "ready\n" {
			return
		}
		select {
		case <-deadline:
			w.t.Fatalf("the daemon is not ready: %s; its log:\n%s", said, w.Log())
		case <-h.daemon.Done():
			w.t.Fatalf("the daemon has ended; its log:\n%s", w.Log())
		case <-tick.C:
		}
	}
}

const longStart = 2 * time.Minute
