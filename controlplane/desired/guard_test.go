package desired

import (
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func TestWhatIsNeverABackend(t *testing.T) {
	inPrefix := func(s *Service) { s.AllowedBackends = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")} }
	byNAT := func(s *Service) { s.Forward = dataplane.NAT }
	onTwoPorts := func(s *Service) { s.VIPs = append(s.VIPs, vip("192.0.2.10:80")) }
	mapsPorts := func(forward dataplane.Forward) func(*Service) {
		return func(s *Service) { s.PortMapping, s.Forward = true, forward }
	}
	prove(t, []row{
		{"loopback, also in IPv4-mapped dress", newWorld(consul("::ffff:127.0.0.1")), `
web down: no backend is up
  127.0.0.1 rejected 0: 127.0.0.1 is a loopback address
  kernel:
`},
		{"multicast", newWorld(consul("ff02::1")), `
web down: no backend is up
  ff02::1 rejected 0: ff02::1 is a multicast address
  kernel:
`},
		{"the unspecified address", newWorld(consul("0.0.0.0")), `
web down: no backend is up
  0.0.0.0 rejected 0: 0.0.0.0 is the unspecified address
  kernel:
`},
		{"link-local", newWorld(consul("169.254.1.1")), `
web down: no backend is up
  169.254.1.1 rejected 0: 169.254.1.1 is a link-local address
  kernel:
`},
		{"broadcast", newWorld(consul("255.255.255.255")), `
web down: no backend is up
  255.255.255.255 rejected 0: 255.255.255.255 is the broadcast address
  kernel:
`},
		{"an own VIP", newWorld(consul("192.0.2.10")), `
web down: no backend is up
  192.0.2.10 rejected 0: 192.0.2.10 is a VIP of service web
  kernel:
`},
		{"an address where VIPs live", newWorld(consul("192.0.2.99")), `
web down: no backend is up
  192.0.2.99 rejected 0: 192.0.2.99 is inside vip_pools
  kernel:
`},
		{"an address the operator did not allow", newWorld(consul("10.20.0.11"), consul("10.99.0.1")).service(inPrefix), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.99.0.1 rejected 0: 10.99.0.1 is outside allowed_backends
  kernel: 10.20.0.11=1
`},
		{"what its source could not make an address of", newWorld(Instance{Source: "consul", ID: "w", Rejected: "db.internal is a hostname"}), `
web down: no backend is up
  invalid IP rejected 0: db.internal is a hostname
  kernel:
`},
		{"a port that forwarding cannot reach", newWorld(consul("10.20.0.11", port(8443))), `
web down: no backend is up
  10.20.0.11 rejected 0: listens on port 8443, but ipip cannot change the VIP's port 443
  kernel:
`},
		{"which nat can, and several of one host", newWorld(consul("10.20.0.11", port(8443)), consul("10.20.0.11", port(8444)), consul("10.20.0.11", port(0))).service(byNAT), `
web ok
  10.20.0.11 up 1
  10.20.0.11 up 1
  10.20.0.11 up 1
  kernel: 10.20.0.11:443=1 10.20.0.11:8443=1 10.20.0.11:8444=1
`},
		{"whose answers would not be seen", newWorld(consul("10.20.0.11")).service(byNAT).hop("10.20.0.11", Hop{Hop: dataplane.Hop{Interface: 3, MTU: 1500}}), `
web down: no backend is up
  10.20.0.11 unresolved 0: its answers would come in where they are not seen: add the interface that leads to it to interfaces, for nat
  kernel:
`},
		{"an address and port a second time", newWorld(consul("10.20.0.11", id("old"), port(8443), status(Critical)), consul("10.20.0.11", port(8443))).service(byNAT), `
web degraded: 1 of 2 backends not up
  10.20.0.11 rejected 0: registered twice: 10.20.0.11:8443 is a backend already, as web-10.20.0.11
  10.20.0.11 up 1
  kernel: 10.20.0.11:8443=1
`},
		{"no port, where the VIPs have two", newWorld(consul("10.20.0.11", port(0))).service(byNAT).service(onTwoPorts), `
web down: no backend is up
  10.20.0.11 rejected 0: has no port, and nat needs one where the VIPs have several
  kernel:
`},
		{"unless the service listens there, too", newWorld(consul("10.20.0.11", port(80))).service(onTwoPorts), `
web ok
  10.20.0.11 up 1
  kernel: 10.20.0.11=1
`},
		{"unless backends map it", newWorld(consul("10.20.0.11", port(8443))).service(mapsPorts(dataplane.IPIP)), `
web ok
  10.20.0.11 up 1
  kernel: 10.20.0.11=1
`},
		{"which GUE tells them; the VIP's own needs no name", newWorld(
			consul("10.20.0.11", port(8443)), consul("10.20.0.11", port(9443)), consul("10.20.0.12")).service(mapsPorts(dataplane.GUE)), `
web ok
  10.20.0.11 up 1
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11:8443=1 10.20.0.11:9443=1 10.20.0.12=1
`},
		{"a second instance of a host under ipip", newWorld(
			consul("10.20.0.11", port(8443)), consul("10.20.0.11", id("web-2"), port(9443))).service(mapsPorts(dataplane.IPIP)), `
web degraded: 1 of 2 backends not up
  10.20.0.11 up 1
  10.20.0.11 rejected 0: listens on port 9443 beside web-10.20.0.11 on 8443 of the same host, and nothing under ipip tells them apart: gue does
  kernel: 10.20.0.11=1
`},
		{"a port that another VIP has", newWorld(consul("10.20.0.11", port(8443))).service(func(s *Service) {
			mapsPorts(dataplane.GUE)(s)
		}).beside("192.0.2.10:8443"), `
admin down: it has no backends
  kernel:
web down: no backend is up
  10.20.0.11 rejected 0: listens on port 8443, which is one of 192.0.2.10:8443/tcp: what is for that could not be told from what is mapped
  kernel:
`},
		{"the same address a second time; the living registration speaks", newWorld(
			consul("10.20.0.11", id("old"), status(Critical), rejected("")), consul("10.20.0.11", id("web-1"))), `
web degraded: 1 of 2 backends not up
  10.20.0.11 rejected 0: registered twice: 10.20.0.11 is a backend already, as web-1
  10.20.0.11 up 1
  kernel: 10.20.0.11=1
`},
	})
}

func TestAServiceThatIsNotWellLeavesOthersAlone(t *testing.T) {
	alone := newWorld(consul("10.20.0.11"))
	wantState, wantReport := Merge(alone.Input)

	both := newWorld(consul("10.20.0.11"))
	both.Services = append(both.Services, Service{Name: "bad", Forward: dataplane.L2})
	both.Views["bad"] = View{Known: true, Instances: []Instance{{Rejected: "nonsense"}, {Port: 7}, consul("127.0.0.1")}}
	state, report := Merge(both.Input)

	got, _ := report.Service("web")
	if want := wantReport.Services[0]; got.State != want.State || got.Up != want.Up {
		t.Errorf("web is %s with %d up, alone it was %s with %d", got.State, got.Up, want.State, want.Up)
	}
	if got, want := len(state.Services[1].Backends), len(wantState.Services[0].Backends); got != want {
		t.Errorf("web has %d backends beside a bad service and %d alone", got, want)
	}
}
