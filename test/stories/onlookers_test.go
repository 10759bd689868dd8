package stories

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
	"github.com/pointsman/pointsman/test/tty"
)

// seated is a command of the program on a terminal.
type seated struct {
	*lab.Process
	keys   io.WriteCloser
	screen spoken
}

func (s *stage) sit(command ...string) *seated {
	s.t.Helper()
	user, program, err := tty.Open()
	s.must(err)
	s.t.Cleanup(func() { user.Close() })
	defer program.Close()
	cmd := exec.Command(s.Binary, command...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	at := &seated{keys: user}
	at.Process, err = s.Host.Start(cmd)
	s.must(err)
	go io.Copy(&at.screen, user) // until the terminal is closed
	return at
}

func TestPrivilegedWhoLooksOnInAFloodCostsNobodyAPacket(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1)
	s.begin(steered)
	s.letFloodsThrough()
	var onlookers []*speaking
	for _, line := range []string{
		"events --follow", "drops", "services --watch", "backends web --watch --wide", "status --watch",
	} {
		onlookers = append(onlookers, s.speak(append(strings.Fields(line), "--socket", s.Socket())...))
	}
	events, drops := onlookers[0], onlookers[1]
	s.awaitSaid(events, "service is ok")
	s.awaitSaid(drops, "watching drops")
	capture := s.speak("capture", "-w", filepath.Join(t.TempDir(), "flood.pcapng"), "--snaplen", "96", "--vip", "192.0.2.1:80/tcp", "--pin-dir", s.PinDir())
	s.awaitSaid(capture, "ctrl-C ends it")
	onlookers = append(onlookers, capture)
	top := s.sit("top", "--socket", s.Socket())

	arrivals, err := traffic.CountArrivals("eth0", s.Lab.Backends...)
	s.must(err)
	defer arrivals.Close()
	before, began := s.status().Outcomes, time.Now()
	flood := traffic.Flood{From: s.Lab.Client, To: s.load("http 192.0.2.1:80").To, Packets: 3 * floodRate, Until: arrivals}
	sent, err := flood.Run(t.Context())
	s.must(err) // each has come
	t.Logf("%d packets, %.0f a second", sent, float64(sent)/time.Since(began).Seconds())
	for name, n := range s.status().Outcomes {
		switch n -= before[name]; {
		case name == "FORWARD" && n != sent:
			t.Errorf("%d packets were forwarded, of %d", n, sent)
		case strings.HasPrefix(name, "DROP_") && n > 0:
			t.Errorf("%d packets met %s", n, name)
		}
	}

	s.await("top shows what passes", func() error {
		if text := top.screen.String(); !strings.Contains(text, "web") {
			return fmt.Errorf("it shows %q", text)
		}
		return nil
	})
	_, err = io.WriteString(top.keys, "q")
	s.must(err)
	s.must(top.Wait())
	s.operate("drain", "web", s.fill("{{v4 2}}"))
	s.awaitSaid(events, "drain begins")
	for _, p := range onlookers {
		s.interrupt(p)
	}
	if said := capture.err.String(); strings.Contains(said, "\n0 packets captured") || !strings.Contains(said, "packets captured") {
		t.Errorf("of the flood, it is said: %s", said)
	}
}
