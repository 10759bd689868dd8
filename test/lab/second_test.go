package lab

import (
	"net/netip"
	"testing"
)

func TestPrivilegedTheRouterSendsVIPsToTheBalancerItIsTold(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{SecondBalancer: true})
	vips := []netip.Addr{VIP4(10), VIP6(10)}
	for _, h := range l.Balancers() {
		for _, vip := range vips {
			if err := h.AddAddress("lo", netip.PrefixFrom(vip, vip.BitLen())); err != nil {
				t.Fatal(err)
			}
		}
		h.ports = DefaultPorts
		if err := h.Revive(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(to *Host) {
		t.Helper()
		for _, vip := range vips {
			if answer, err := askTCP(l.Client, vip); err != nil || answer != to.Name {
				t.Errorf("%s answered %q, %v; the router sends VIPs to %s", vip, answer, err, to.Name)
			}
		}
	}
	check(l.Balancer)
	for _, to := range []*Host{l.Second, l.Balancer} {
		if err := l.SendVIPsTo(to); err != nil {
			t.Fatal(err)
		}
		check(to)
	}
}

func TestPrivilegedAHostAnswersNobodyWhomItIgnores(t *testing.T) {
	privileged(t)
	l := ForTest(t, Options{Backends: 2})
	if err := l.Backends[0].Ignore(netip.PrefixFrom(l.Client.Addr4, 32)); err != nil {
		t.Fatal(err)
	}
	if l.Client.reaches(l.Backends[0].Addr4) {
		t.Error("it answered")
	}
	if !l.Client.reaches(l.Backends[0].Addr6) || !l.Client.reaches(l.Backends[1].Addr4) {
		t.Error("others are not answered either")
	}
}
