package stories

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
	"github.com/pointsman/pointsman/test/wireshark"
)

// floodRate is more than a capture of two records a packet can write on a small
// machine.
const floodRate = 100_000

func TestPrivilegedACaptureInAFloodTellsWhatItLostAndCostsNobodyAnAnswer(t *testing.T) {
	const vip = "http 192.0.2.1:80"
	s := open(t, lab.Options{Backends: 1}, 1)
	s.begin(strings.SplitN(captured, "service \"there\"", 2)[0])
	s.letFloodsThrough()

	file := filepath.Join(t.TempDir(), "flood.pcapng")
	p := s.speak("capture", "-w", file, "--snaplen", "96", "--vip", "192.0.2.1:80/tcp", "--pin-dir", s.PinDir())
	s.awaitSaid(p, "ctrl-C ends it")
	before := s.outcome("FORWARD")
	took := s.floodUntil(before+floodRate, vip)
	arrived := s.outcome("FORWARD") - before
	s.interrupt(p)

	var packets, lost uint64
	said := p.err.String()
	if _, err := fmt.Sscanf(said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:], "%d packets captured, %d records lost", &packets, &lost); err != nil {
		t.Fatalf("it says %q: %v", said, err)
	}
	frames, err := wireshark.Frames(file)
	s.must(err)
	t.Logf("%d packets arrived in %v, %.0f a second: %d were captured in %d frames, and %d records were lost",
		arrived, took, float64(arrived)/took.Seconds(), packets, len(frames), lost)
	// A packet is in the file, or one of its two records is said to be lost.
	if packets+lost < arrived {
		t.Errorf("%d packets arrived: %d were captured and %d records are said to be lost", arrived, packets, lost)
	}
	if packets == 0 || uint64(len(frames)) < packets {
		t.Errorf("%d packets are said to be captured in %d frames", packets, len(frames))
	}
}

// floodUntil sends SYNs to a VIP until so many packets have been forwarded, or for
// as long as the machine may need, and wants requests to be answered meanwhile.
func (s *stage) floodUntil(forwarded uint64, vip string) time.Duration {
	s.t.Helper()
	ctx, stop := context.WithTimeout(s.t.Context(), longestFlood)
	defer stop()
	over, began := make(chan error, 1), time.Now()
	go func() {
		_, err := traffic.Flood{From: s.Lab.Client, To: s.load(vip).To, Rate: floodRate}.Run(ctx)
		over <- err
	}()
	load := s.load(vip)
	load.Requests, load.Workers, load.Timeout = 10, 4, longestFlood // the lab's wires lose some of a flood, and segments are sent again
	for rounds := 0; ctx.Err() == nil && (rounds == 0 || s.outcome("FORWARD") < forwarded); rounds++ {
		s.allAnswered(vip, load.Run(s.t.Context()))
	}
	stop()
	s.must(<-over)
	return time.Since(began)
}
