package stories

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/test/lab"
)

// Two backends: backend-1 has the wide VIPs, backend-2 what is more specific.
const wide = `
service "range" {
  listen = ["192.0.2.10:8000-8999/tcp", "192.0.2.10:8000-8999/udp"]
  slots  = 251
  backend "{{v4 1}}" {}
}
service "any" {
  listen  = ["192.0.2.11:*/tcp", "192.0.2.11:*/udp", "[2001:db8:10::11]:*/tcp", "[2001:db8:10::11]:*/udp"]
  forward = "l2"
  slots   = 251
  backend "{{v4 1}}" {}
}
service "prefix" {
  listen = ["192.0.2.64/26:8000/tcp", "192.0.2.64/26:8000/udp", "[2001:db8:10:0:1::]/80:*/tcp", "[2001:db8:10:0:1::/80]:*/udp"]
  slots  = 251
  backend "{{v6 1}}" {}
}
service "inner" {
  listen = ["192.0.2.10:8080/tcp", "192.0.2.70:*/tcp", "[2001:db8:10:0:1:2::]/96:8000-8999/udp"]
  slots  = 251
  backend "{{v4 2}}" {}
}`

func TestPrivilegedClientsReachAnyAddressAndPortOfAWideVIP(t *testing.T) {
	ports := []uint16{8000, 8080, 8999, 9000}
	s := open(t, lab.Options{Backends: 2, Ports: lab.Ports{TCP: ports, UDP: ports}}, 10, 11)
	for _, h := range s.Lab.Backends {
		var vips []netip.Prefix
		for _, vip := range []string{"192.0.2.10/32", "192.0.2.11/32", "2001:db8:10::11/128", "192.0.2.64/26", "2001:db8:10:0:1::/80"} {
			vips = append(vips, netip.MustParsePrefix(vip))
		}
		s.must(s.DecapPrefixes(t.Context(), h, vips...))
	}
	s.begin(wide)
	s.overhear()
	for _, h := range s.Lab.Backends {
		s.must(answerNoLongerThan(lab.ClientMTU, h, s.Lab.Client))
	}
	for _, row := range []struct {
		promise, vip, backend string
	}{
		{"the first port of a range", "tcp 192.0.2.10:8000", "backend-1"},
		{"its last port", "udp 192.0.2.10:8999", "backend-1"},
		{"one port within a range that another service has", "tcp 192.0.2.10:8080", "backend-2"},
		{"any port by l2", "tcp 192.0.2.11:9000", "backend-1"},
		{"of UDP as well", "udp 192.0.2.11:8080", "backend-1"},
		{"and of IPv6", "tcp [2001:db8:10::11]:8999", "backend-1"},
		{"in datagrams, too", "udp [2001:db8:10::11]:9000", "backend-1"},
		{"the first address of a prefix", "tcp 192.0.2.64:8000", "backend-1"},
		{"its last address", "udp 192.0.2.127:8000", "backend-1"},
		{"a prefix of IPv6 with any port", "tcp [2001:db8:10:0:1::]:9000", "backend-1"},
		{"at its other end", "udp [2001:db8:10:0:1:ffff:ffff:ffff]:8000", "backend-1"},
		{"one address within a prefix that another service has", "tcp 192.0.2.70:8000", "backend-2"},
		{"a port that the prefix around it has not got", "tcp 192.0.2.70:9000", "backend-2"},
		{"a prefix within a prefix", "udp [2001:db8:10:0:1:2::9]:8080", "backend-2"},
		{"whose other ports are the outer one's", "udp [2001:db8:10:0:1:2::9]:9000", "backend-1"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			s := s.in(t)
			answers := s.ask(row.vip, 10)
			s.allAnswered(row.vip, answers)
			if n := answers.Counts()[row.backend]; n != len(answers) {
				t.Errorf("%s: %s answered %d of %d requests: %v", row.vip, row.backend, n, len(answers), answers.Counts())
			}
		})
	}
	for _, addr := range []string{"192.0.2.100", "2001:db8:10:0:1::7"} {
		t.Run(fmt.Sprintf("%s answers a ping", addr), func(t *testing.T) {
			s := s.in(t)
			before := s.outcome("REPLY_ECHO")
			_, err := s.Lab.Client.Run(t.Context(), "ping", "-c", "3", "-i", "0.01", "-W", "5", addr)
			s.must(err)
			if after := s.outcome("REPLY_ECHO"); after-before != 3 {
				t.Errorf("%d echo requests were answered", after-before)
			}
		})
	}
	for _, vip := range []netip.AddrPort{netip.MustParseAddrPort("192.0.2.99:8000"), netip.MustParseAddrPort("[2001:db8:10:0:1::99]:9000")} {
		t.Run("fragments to "+vip.String(), func(t *testing.T) {
			s := s.in(t)
			s.echoesLong(vip)
			s.echoesFragments(vip, interleaved)
			s.echoesFragments(vip, func(a, b [][]byte) [][]byte { return reversed(interleaved(a, b)) })
		})
	}
	if n := s.outcome("DROP_FRAGMENT"); n != 0 {
		t.Errorf("%d fragments were dropped", n)
	}
	for _, vip := range []string{"tcp 192.0.2.10:9000", "udp 192.0.2.64:9000"} {
		s.noneAnswered(vip)
	}
}
