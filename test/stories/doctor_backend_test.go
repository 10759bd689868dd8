package stories

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// The VIPs of a backend with the program, as its doctor finds them there.
const (
	ownVIP4 = "192.0.2.1"
	ownVIP6 = "2001:db8:10::1"
)

const ofEth0 = "net.ipv4.conf.eth0."

// backendAilments are what can be wrong with a backend.
var backendAilments = []ailment{
	{"it answers ARP for the VIP", func(p *patient) { p.sysctl("net/ipv4/conf/eth0/arp_ignore", "0") },
		[]string{"failure arp-ignore " + ofEth0 + "arp_ignore"}, nil},
	{"it asks in the VIP's name", func(p *patient) { p.sysctl("net/ipv4/conf/eth0/arp_announce", "0") },
		[]string{"failure arp-announce " + ofEth0 + "arp_announce"}, nil},
	{"strict reverse paths, where answers may leave elsewhere", func(p *patient) {
		p.must(p.host.PlugInBeside("eth1", p.backend(2)))
		p.must(p.host.AddAddress("eth1", netip.MustParsePrefix("10.9.0.1/24")))
		p.sysctl("net/ipv4/conf/all/rp_filter", "0")
		p.sysctl("net/ipv4/conf/eth0/rp_filter", "1")
	}, []string{"failure rp-filter " + ofEth0 + "rp_filter"}, nil},
	{"the VIPs are not on lo", func(p *patient) {
		p.do("ip address del " + ownVIP4 + "/32 dev lo; ip address del " + ownVIP6 + "/128 dev lo")
	}, []string{"failure vip-missing " + ownVIP4, "failure vip-missing " + ownVIP6}, nil},
	{"a VIP is where the segment hears of it", func(p *patient) {
		p.do("ip address del " + ownVIP4 + "/32 dev lo; ip address add " + ownVIP4 + "/24 dev eth0")
	}, []string{"failure vip-elsewhere " + ownVIP4}, nil},
	{"lo is down, which takes IPv6 addresses along", func(p *patient) { p.do("ip link set dev lo down") },
		[]string{"failure lo-down lo", "failure vip-missing " + ownVIP6}, nil},
	{"IPv6 is switched off on lo", func(p *patient) { p.sysctl("net/ipv6/conf/lo/disable_ipv6", "1") },
		[]string{"failure ipv6-off lo", "failure vip-missing " + ownVIP6}, nil},
	{"the program is gone", func(p *patient) {
		p.must(os.Remove(filepath.Join(p.Lab.PinDir, p.host.Name, "decap", "eth0", "xdp_link")))
		p.awaitNoProgram("eth0") // the kernel takes its time for the last of a link
	}, []string{"failure decap eth0"}, nil},
	{"full packets come too long, and clients are not told", func(p *patient) { p.do("ip link set dev eth0 mtu 1500") },
		[]string{"warning mss default via {router 4} dev eth0 proto 3", "warning mss default via {router 6} dev eth0 proto 3 metric 1024"}, nil},
}

func (p *patient) awaitNoProgram(iface string) {
	p.t.Helper()
	deadline := time.After(patience)
	for tick := time.NewTicker(time.Millisecond); ; {
		link, err := p.host.Links().LinkByName(iface)
		p.must(err)
		if link.Attrs().Xdp == nil || !link.Attrs().Xdp.Attached {
			return
		}
		select {
		case <-deadline:
			p.t.Fatalf("a program is still on %s", iface)
		case <-tick.C:
		}
	}
}

func TestPrivilegedTheDoctorFindsWhatAilsABackendAndSaysWhatMendsIt(t *testing.T) {
	s := open(t, lab.Options{Backends: 2})
	s.must(s.Decap(t.Context(), s.backend(1), netip.MustParseAddr(ownVIP4), netip.MustParseAddr(ownVIP6)))
	s.backendPatient(1).suffers(backendAilments)
}

func TestPrivilegedTheDoctorSaysWhatABackendLacksThatWasNeverPrepared(t *testing.T) {
	s := open(t, lab.Options{Backends: 2})
	s.must(s.Decap(t.Context(), s.backend(2), lab.VIP4(9))) // registers it for the end of the stage
	t.Run("it asks whose VIPs it is to answer for", func(t *testing.T) {
		p := s.in(t).backendPatient(1)
		p.has("failure no-vips eth0")
	})
	t.Run("one command does all", func(t *testing.T) {
		p := s.in(t).backendPatient(2, "--vip", ownVIP4, "--from", "198.51.100.2")
		p.mends(p.has("failure decap-vip "+ownVIP4, "failure vip-missing "+ownVIP4))
	})
	t.Run("by l2 it needs no program", func(t *testing.T) {
		p := s.in(t).backendPatient(1, "--vip", ownVIP4, "--no-program")
		p.mends(p.has("failure arp-ignore "+ofEth0+"arp_ignore", "failure arp-announce "+ofEth0+"arp_announce", "failure vip-missing "+ownVIP4))
	})
	t.Run("another program is in the way", func(t *testing.T) {
		p := s.in(t).backendPatient(1, "--vip", ownVIP4, "--no-program")
		leave, err := p.host.Occupy("eth0", "native")
		p.must(err)
		t.Cleanup(func() { _ = leave() })
		p.mends(p.has("failure other-program eth0"))
	})
	t.Run("what the file's services with an instance here need, mappings included", func(t *testing.T) {
		s := s.in(t)
		s.configure(`
service "web" {
  listen       = ["192.0.2.1:80/tcp"]
  port_mapping = true
  backend "{{v4 2}}:20001" {}
}
service "elsewhere" {
  listen = ["192.0.2.3:80/tcp"]
  backend "{{v4 1}}" {}
}`)
		p := s.backendPatient(2, "--config", s.ConfigPath())
		p.mends(p.has("failure decap-mapping 192.0.2.1:80/tcp=20001"))
	})
}
