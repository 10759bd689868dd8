package stories

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/test/lab"
)

func TestPrivilegedTheDoctorFindsNothingWhileTheDaemonRunsAndDisturbsNothing(t *testing.T) {
	p := openPatient(t)
	p.must(p.Decap(t.Context(), p.backend(1), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:10::1")))
	p.must(p.Decap(t.Context(), p.backend(2), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:10::1")))
	p.begin(examinedServices)
	managed := p.managed()
	if len(managed) == 0 {
		t.Error("the daemon keeps no neighbour")
	}
	p.has()
	p.backendPatient(1).has()
	if after := p.managed(); !slices.Equal(after, managed) {
		t.Errorf("the kernel keeps %q, and kept %q before", after, managed)
	}
}

// managed are the neighbours that the kernel keeps for the daemon.
func (p *patient) managed() (all []string) {
	p.t.Helper()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := p.host.Links().NeighList(0, family)
		p.must(err)
		for _, n := range list {
			if n.FlagsExt&netlink.NTF_EXT_MANAGED != 0 {
				all = append(all, n.IP.String())
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestPrivilegedTheDoctorSaysThatTheProgramIsNotInTheDriver(t *testing.T) {
	p := openPatient(t)
	p.must(p.host.RefuseXDP("eth1"))
	p.begin(examinedServices)
	d := p.has("warning generic-mode eth1")
	strict := p.in(t)
	if strict.flags = append(slices.Clone(p.flags), "--exit-code"); strict.examined().code != 6 {
		t.Error("on request, a warning is told by the exit code")
	}
	port, name := p.host.Port("eth1")
	_, err := port.Run(t.Context(), "ip", "link", "set", "dev", name, "mtu", fmt.Sprint(lab.DefaultMTU))
	p.must(err)
	detach := strings.Split(d.Findings[0].Mend, " && ")
	if len(detach) != 3 || detach[0] != "systemctl stop pointsman" || detach[2] != "systemctl start pointsman" {
		t.Fatalf("the mend is %q", d.Findings[0].Mend)
	}
	p.must(p.Daemon.Stop())
	p.do(detach[1])
	p.must(p.Start())
	_, err = p.AwaitReady(t.Context())
	p.must(err)
	p.has()
}

// A veth takes a program only where it has as many queues as its other end sends by.
func TestPrivilegedTheDoctorFindsTooFewQueues(t *testing.T) {
	p := openPatient(t)
	p.do("ip link add few0 numrxqueues 2 numtxqueues 2 type veth peer name many0 numrxqueues 2 numtxqueues 2")
	p.do("ethtool -L few0 rx 1; ip link set dev many0 up; ip link set dev few0 up")
	p.interfaces = `["eth0", "few0"]`
	p.configure(examinedServices)
	if leave, err := p.host.Occupy("few0", "native"); err == nil {
		_ = leave()
		t.Error("a program is taken all the same")
	}
	p.mends(p.has("warning queues few0"))
	leave, err := p.host.Occupy("few0", "native")
	p.must(err)
	p.must(leave())
}
