package stories

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
)

// growth is by how much a fragment is longer in IPv6: both headers less one.
const growth = 28

// Both the datagrams and their answers are in fragments, made by the stacks of plain
// hosts, or in orders that only routers make.
func TestPrivilegedDatagramsOf20kBAndTheirAnswersAreTranslatedInFragments(t *testing.T) {
	services := ""
	for i, r := range natRoads {
		at := "{{v4 1}}"
		if r.backend == 6 {
			at = "[{{v6 1}}]"
		}
		services += fmt.Sprintf(`
service "dns-%d" {
  listen  = ["%s:443/udp"]
  forward = "nat"
  slots   = 251
  backend "%s:53" {}
}`, i+1, r.vip(i+1), at)
	}
	s := open(t, lab.Options{Backends: 1, Ports: lab.Ports{UDP: []uint16{53}}})
	s.begin(services)
	s.overhear()
	s.must(answerNoLongerThan(lab.ClientMTU-growth, s.backend(1), s.Lab.Balancer))
	for i, r := range natRoads {
		vip := netip.MustParseAddrPort(r.vip(i+1) + ":443")
		t.Run(r.promise+", by the client's own stack", func(t *testing.T) { s.in(t).echoesLong(vip) })
		for _, order := range orders {
			t.Run(r.promise+", "+order.name, func(t *testing.T) { s.in(t).echoesFragments(vip, order.of) })
		}
	}
	if n := s.outcome("DROP_FRAGMENT"); n != 0 {
		t.Errorf("%d fragments were dropped", n)
	}
	if s.outcome("HOLD_FRAGMENT") == 0 {
		t.Error("none was held: did any come before its first?")
	}
}
