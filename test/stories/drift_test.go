package stories

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

func TestPrivilegedPinsThatSomeoneRemovesComeBackAndNobodyNotices(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	s.begin(unprobed)
	asking := s.keepAsking(webVIPs...)
	pins := []string{"links/eth0", "maps/vips", "maps/flows", "program"}
	for _, pin := range pins {
		s.must(os.Remove(filepath.Join(s.PinDir(), pin)))
	}
	s.await("the pins are back", func() error {
		var missing error
		for _, pin := range pins {
			_, err := os.Stat(filepath.Join(s.PinDir(), pin))
			missing = errors.Join(missing, err)
		}
		return missing
	})
	s.await("the repairs are told", func() error {
		if now := s.status(); now.DriftRepairs < len(pins) || now.LastRepair == nil {
			return errors.New("too few repairs in the status")
		}
		return nil
	})
	s.nothingLost(asking.finish())
}

// TestPrivilegedWhatOthersDoToTheInterfaceIsMendedAndNamed does it while clients ask.
// What they lose in between is lost; afterwards they are answered.
func TestPrivilegedWhatOthersDoToTheInterfaceIsMendedAndNamed(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2)
	// Else the kernel would take the IPv6 addresses of an interface that goes down.
	s.must(s.Host.Sysctl("net/ipv6/conf/eth0/keep_addr_on_down", "1"))
	s.begin(unprobed)
	for _, row := range []struct {
		promise string
		do      func()
		found   string
	}{
		{"renamed away and back", s.renameAwayAndBack, "the interface eth0 was gone"},
		{"taken out and another put in its place", s.replaceInterface, "eth0"},
		{"its link detached by force", func() { s.must(s.toLink(lab.Pinned.Detach)) }, "the program was detached from eth0"},
		{"its program replaced by another", func() { s.must(s.toLink(lab.Pinned.Supplant)) }, "the program on eth0 was replaced by another"},
		{"its hook taken by another program", s.takeHook, "the program was detached from eth0"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			before := s.status().DriftRepairs
			row.do()
			s.await("the repair is told", func() error {
				now := s.status()
				if now.DriftRepairs == before || !strings.Contains(now.LastRepair.Found, row.found) {
					return fmt.Errorf("%d repairs, the last: %+v; warnings: %q", now.DriftRepairs, now.LastRepair, now.Warnings)
				}
				return balancer.Attached(now)
			})
			s.await("clients are answered", func() error {
				for _, vip := range allVIPs {
					if failed := s.briefly(vip).Failed(); len(failed) > 0 {
						return fmt.Errorf("%s: %w", vip, failed[0].Err)
					}
				}
				return nil
			})
			s.allAnswered(webVIPs[0], s.ask(webVIPs[0], 100))
		})
	}
}

// briefly asks a VIP without patience.
func (s *stage) briefly(vip string) traffic.Answers {
	load := s.load(vip)
	load.Requests, load.Workers, load.Timeout = 8, 4, time.Second
	return load.Run(s.t.Context())
}

func (s *stage) link(name string) netlink.Link {
	s.t.Helper()
	link, err := s.Host.Links().LinkByName(name)
	s.must(err)
	return link
}

// toLink does something to the pinned link of eth0.
func (s *stage) toLink(do func(lab.Pinned) error) error {
	pinned, err := lab.OpenPinned(filepath.Join(s.PinDir(), "links", "eth0"))
	if err != nil {
		return err
	}
	return errors.Join(do(pinned), pinned.Close())
}

func (s *stage) renameAwayAndBack() {
	links, link := s.Host.Links(), s.link("eth0")
	s.must(links.LinkSetDown(link))
	s.must(links.LinkSetName(link, "away0"))
	s.awaitWarning("there is no such interface")
	s.must(links.LinkSetName(link, "eth0"))
	s.must(links.LinkSetUp(link))
}

// replaceInterface keeps the MAC, so that nobody around has to learn another.
func (s *stage) replaceInterface() {
	mac := s.link("eth0").Attrs().HardwareAddr
	s.must(s.Host.Replace("eth0"))
	s.must(s.Host.Links().LinkSetHardwareAddr(s.link("eth0"), mac))
}

// takeHook lets another program be faster than the daemon, and go again once that
// has said what to do about it.
func (s *stage) takeHook() {
	s.await("another program has the hook", func() error {
		return errors.Join(s.toLink(lab.Pinned.Detach), s.Host.AttachXDP("eth0"))
	})
	s.awaitWarning("ip link set dev eth0 xdp off")
	s.noneAnswered(webVIPs[0])
	s.must(s.Host.RemoveXDP("eth0"))
}
