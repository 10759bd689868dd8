package stories

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

const explained = `
service "web" {
  listen = ["192.0.2.1:7000/tcp", "[2001:db8:10::1]:7000/tcp", "192.0.2.1:53/udp"]
  slots  = 251
  backend "{{v4 1}}" {}
  backend "{{v6 2}}" {}
  backend "{{v4 3}}" {}
}`

// explains holds what is said of packets against who answers them: of those of a
// flow that is open, and of one that would begin with the same ports.
func (s *stage) explains(flows traffic.Flows, protocol, vip string) (unsettled int) {
	s.t.Helper()
	for _, f := range flows {
		e, err := s.Explain(s.t.Context(), protocol, f.Client.String(), vip)
		s.must(err)
		later := e.Packets[len(e.Packets)-1]
		if later.Backend == nil || s.name(later.Backend.Address) != f.Backend {
			s.t.Errorf("%s answers %s, and explained is %+v", f.Backend, f.Client, e)
		}
		if e.Phase != "settled" {
			unsettled++
		}
	}
	return unsettled
}

func TestPrivilegedAnExplanationNamesTheBackendThatAnswers(t *testing.T) {
	s := open(t, lab.Options{Backends: 3}, 1)
	s.begin(explained)
	type row struct {
		kind          traffic.Kind
		protocol, vip string
		flows         traffic.Flows
	}
	rows := []row{{traffic.TCP, "tcp", "192.0.2.1:7000", nil}, {traffic.TCP, "tcp", "[2001:db8:10::1]:7000", nil}, {traffic.UDP, "udp", "192.0.2.1:53", nil}}
	for i := range rows {
		row := &rows[i]
		flows, err := traffic.Open(t.Context(), s.Lab.Client, row.kind, netip.MustParseAddrPort(row.vip), 15)
		s.must(err)
		defer flows.Close()
		row.flows = flows
		if n := s.explains(flows, row.protocol, row.vip); n != 0 {
			t.Errorf("%d flows to %s are said to be of slots in motion, of which there are none", n, row.vip)
		}
	}
	_, err := s.Run(t.Context(), "drain", "web", s.backend(3).Addr4.String(), "--socket", s.Socket())
	s.must(err)
	s.await("it owns no slots", func() error {
		list, err := s.Backends(t.Context())
		for _, b := range list.Services[0].Backends {
			if s.name(b.Address) == s.backend(3).Name && b.Slots > 0 {
				err = fmt.Errorf("%+v", b)
			}
		}
		return err
	})
	for _, row := range rows {
		// Packets of open flows are what slots learn by.
		if broken := row.flows.Use(patience); len(broken) > 0 {
			t.Errorf("%d flows to %s broke", len(broken), row.vip)
		}
		if n, own := s.explains(row.flows, row.protocol, row.vip), len(row.flows.Of(s.backend(3).Name)); n < own {
			t.Errorf("%d flows to %s are said to be of slots in motion, and %d are the drained backend's", n, row.vip, own)
		}
		newcomers, err := traffic.Open(t.Context(), s.Lab.Client, row.kind, netip.MustParseAddrPort(row.vip), 15)
		s.must(err)
		s.explains(newcomers, row.protocol, row.vip)
		newcomers.Close()
	}
}
