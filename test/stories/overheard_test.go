package stories

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/wireshark"
)

// overhear captures what the client sends and gets, and what goes to and from each
// backend, before it is taken out of its tunnel. At the end of the story Wireshark
// may find nothing malformed in it, and no checksum wrong. Not every backend of a
// story gets packets.
func (s *stage) overhear() {
	s.t.Helper()
	if !wireshark.Installed() {
		s.t.Log("there is no tshark to judge what passes: apt-get install tshark tcpdump")
		return
	}
	s.overhearAt(s.Lab.Client, "eth0")
	for _, h := range s.Lab.Backends {
		s.overhearAt(h.Port("eth0"))
	}
}

func (s *stage) overhearAt(h *lab.Host, iface string) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "overheard.pcap")
	p := &speaking{}
	cmd := exec.Command("tcpdump", "--immediate-mode", "-n", "-U", "-Z", "root", "-B", "16384", "-i", iface, "-w", file)
	cmd.Stderr = &p.err
	var err error
	p.Process, err = h.Start(cmd)
	s.must(err)
	s.t.Cleanup(func() {
		_ = p.Signal(syscall.SIGINT) // one that has ended says why below
		if err := p.Wait(); err != nil {
			s.t.Errorf("tcpdump on %s of %s: %v: %s", iface, h.Name, err, p.err.String())
			return
		}
		s.judge(fmt.Sprintf("%s of %s", iface, h.Name), file)
	})
	s.awaitSaid(p, "listening on")
}

// judge has tshark judge a capture.
func (s *stage) judge(place, file string) {
	s.t.Helper()
	frames, err := wireshark.Frames(file)
	s.must(err)
	found, err := wireshark.InCapture(file)
	s.must(err)
	s.t.Logf("%s: tshark has judged %d frames", place, len(frames))
	for i, objection := range found { // of which a few suffice
		if i < 3 {
			s.t.Errorf("of the %d frames on %s, tshark objects to %d: %s", len(frames), place, len(found), objection)
		}
	}
}
