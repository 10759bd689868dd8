package stories

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/packet"
	"github.com/pointsman/pointsman/test/traffic"
)

func TestPrivilegedWhoLooksOnInAFloodCostsNobodyAPacket(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1)
	s.begin(steered)
	s.letFloodsThrough()
	var onlookers []*speaking
	for _, command := range s.Onlookers("web", "192.0.2.1:80/tcp", filepath.Join(t.TempDir(), "flood.pcapng")) {
		onlookers = append(onlookers, s.speak(command...))
	}
	events, drops, backends, capture := onlookers[0], onlookers[1], onlookers[3], onlookers[5]
	s.awaitSaid(events, "service is ok")
	s.awaitSaid(drops, "watching drops")
	s.awaitSaid(capture, "ctrl-C ends it")
	var screen spoken
	top, err := s.Sit(&screen, "top", "--socket", s.Socket())
	s.must(err)
	defer top.Keys.Close()

	arrivals, err := traffic.CountArrivals("eth0", s.Lab.Backends...)
	s.must(err)
	defer arrivals.Close()
	before, began := s.status().Outcomes, time.Now()
	flood := traffic.Flood{From: s.Lab.Client, To: s.load("http 192.0.2.1:80").To, Packets: 3 * floodRate, Until: arrivals}
	var sent uint64
	flooded := make(chan error, 1)
	go func() {
		var err error
		sent, err = flood.Run(t.Context())
		flooded <- err // nil: each has come
	}()
	s.operate("drain", "web", s.fill("{{v4 2}}"))
	s.awaitSaid(events, "drain begins")
	s.awaitSaid(backends, "drained by root")
	broken := s.breakSegmentsUntil(flooded)
	t.Logf("%d packets, %.0f a second", sent, float64(sent)/time.Since(began).Seconds())
	want := map[string]uint64{"FORWARD": sent, "DROP_BAD_FLAGS": broken}
	for name, n := range s.status().Outcomes {
		if n -= before[name]; n != want[name] && (want[name] > 0 || strings.HasPrefix(name, "DROP_")) {
			t.Errorf("%s: %d packets, not %d", name, n, want[name])
		}
	}
	s.awaitSaid(drops, "DROP_BAD_FLAGS")

	s.await("top shows what passes", func() error {
		if text := screen.String(); !strings.Contains(text, "web") {
			return fmt.Errorf("it shows %q", text)
		}
		return nil
	})
	_, err = io.WriteString(top.Keys, "q")
	s.must(err)
	s.must(top.Wait())
	for _, p := range onlookers {
		s.interrupt(p)
	}
	if said := capture.err.String(); strings.Contains(said, "\n0 packets captured") || !strings.Contains(said, "packets captured") {
		t.Errorf("of the flood, it is said: %s", said)
	}
}

// breakSegmentsUntil sends segments that the program drops until the flood is over.
func (s *stage) breakSegmentsUntil(flooded <-chan error) (sent uint64) {
	s.t.Helper()
	mac, send := s.sender(s.Lab.Router, "eth1")
	balancer, err := s.Host.Links().LinkByName("eth0")
	s.must(err)
	frame := packet.Ethernet{To: packet.MAC(balancer.Attrs().HardwareAddr), From: mac}.Frame(
		segment(0)(packet.IP{From: s.Lab.Client.Addr4, To: lab.VIP4(1)}))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-flooded:
			s.must(err)
			return sent
		case <-tick.C:
			send(frame)
			sent++
		}
	}
}
