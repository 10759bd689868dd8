package desired

import (
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func TestBackendsOfWideVIPs(t *testing.T) {
	listening := func(first, last uint16, hostBits uint8) func(*Service) {
		return func(s *Service) {
			s.VIPs[0].Port, s.VIPs[0].Wide = first, dataplane.Wide{HostBits: hostBits, LastPort: last}
		}
	}
	within := newWorld(consul("192.0.3.10")).service(func(s *Service) {
		s.VIPs = append(s.VIPs, dataplane.VIP{Addr: netip.MustParseAddr("192.0.3.0"), Port: 80, Wide: dataplane.Wide{HostBits: 8}})
	})
	prove(t, []row{
		{"an instance's port must lie in the VIP's range", newWorld(consul("10.20.0.11", port(8000)), consul("10.20.0.12", port(8099)), consul("10.20.0.13", port(8100))).
			service(listening(8000, 8099, 0)), `
web degraded: 1 of 3 backends not up
  10.20.0.11 up 1
  10.20.0.12 up 1
  10.20.0.13 rejected 0: listens on port 8100, but ipip cannot change the VIP's port 8000-8099
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"any port accepts all", newWorld(consul("10.20.0.11", port(1)), consul("10.20.0.12", port(65535))).
			service(listening(dataplane.AnyPort, dataplane.LastOfAnyPort, 0)), `
web ok
  10.20.0.11 up 1
  10.20.0.12 up 1
  kernel: 10.20.0.11=1 10.20.0.12=1
`},
		{"no address of a prefix is a backend", within, `
web down: no backend is up
  192.0.3.10 rejected 0: 192.0.3.10 is a VIP of service web
  kernel:
`},
	})
}

func TestHowQUICKnowsABackend(t *testing.T) {
	quic := func(length uint8) func(*Service) {
		return func(s *Service) { s.QUIC = dataplane.QUIC{Offset: 1, Length: length} }
	}
	named := func(id string) func(*Instance) { return func(i *Instance) { i.QUICID = id } }
	const a, b, c = "10.20.0.11", "10.20.0.12", "10.20.1.12"
	for _, row := range []struct {
		promise string
		world   *world
		want    map[string]string // by address; what is not there has no ID
	}{
		{"by the last bytes of its address", newWorld(consul(a), consul("2001:db8::ab:cd12")).service(quic(2)),
			map[string]string{a: "\x00\x0b", "2001:db8::ab:cd12": "\xcd\x12"}},
		{"of IPv4 mapped into IPv6", newWorld(consul(a)).service(quic(8)), map[string]string{a: "\x00\x00\xff\xff\x0a\x14\x00\x0b"}},
		{"by what it says", newWorld(consul(a), consul(b, named("xy"))).service(quic(2)), map[string]string{a: "\x00\x0b", b: "xy"}},
		{"not at all where two have the same", newWorld(consul(a), consul(b), consul(c)).service(quic(1)), map[string]string{a: "\x0b"}},
		{"nor where one of them is down, which will be back", newWorld(consul(b), consul(c, status(Critical))).service(quic(1)), nil},
		{"as before while it drains", newWorld(consul(a, status(Maintenance)), consul(b)).service(quic(1)), map[string]string{a: "\x0b", b: "\x0c"}},
		{"not at all without QUIC", newWorld(consul(a, named("xy"))), nil},
	} {
		state, _ := Merge(row.world.Input)
		for _, backend := range state.Services[0].Backends {
			if want := row.want[backend.Addr.String()]; backend.QUICID != want {
				t.Errorf("%s: %s is %q instead of %q", row.promise, backend.Addr, backend.QUICID, want)
			}
		}
	}
	prove(t, []row{{"two of one name are told", newWorld(consul(b), consul(c)).service(quic(1)), `
web ok
  10.20.0.12 up 1: its QUIC ID 0c is that of 10.20.1.12, too: their connections go by flow
  10.20.1.12 up 1: its QUIC ID 0c is that of 10.20.0.12, too: their connections go by flow
  kernel: 10.20.0.12=1 10.20.1.12=1
`}})
}
