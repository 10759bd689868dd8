package decap

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func mapping(vip string, protocol dataplane.Protocol, local uint16, named bool) Mapping {
	return Mapping{VIP: netip.MustParseAddrPort(vip), Protocol: protocol, Local: local, Named: named}
}

func TestMappingsCanBeToldInBothDirections(t *testing.T) {
	https := mapping("192.0.2.10:443", dataplane.TCP, 20001, false)
	wide := dataplane.VIP{Addr: netip.MustParseAddr("192.0.2.0"), Port: 8000, Protocol: dataplane.TCP, Wide: dataplane.Wide{HostBits: 8, LastPort: 8999}}
	for _, row := range []struct {
		promise string
		wanted  []Mapping
		refused string // of the last, "" for none
	}{
		{"one instance", []Mapping{https}, ""},
		{"the same twice", []Mapping{https, https}, ""},
		{"one instance, named or not", []Mapping{https, mapping("192.0.2.10:443", dataplane.TCP, 20001, true)}, ""},
		{"several that tunnels name", []Mapping{mapping("192.0.2.10:443", dataplane.TCP, 20001, true), mapping("192.0.2.10:443", dataplane.TCP, 20002, true)}, ""},
		{"several that nothing names", []Mapping{https, mapping("192.0.2.10:443", dataplane.TCP, 20002, false)},
			`port 20001 is an instance of it, too, and nothing in the tunnel tells them apart: with forward = "gue" it does`},
		{"one port for TCP and UDP", []Mapping{https, mapping("192.0.2.10:443", dataplane.UDP, 20001, false)}, ""},
		{"one port for two addresses", []Mapping{https, mapping("[2001:db8::10]:443", dataplane.TCP, 20001, false)}, ""},
		{"one port for two of a VIP's", []Mapping{https, mapping("192.0.2.10:80", dataplane.TCP, 20001, true)},
			"192.0.2.10:443/tcp is mapped there already, and answers from that port could be of either"},
		{"the VIP's own port", []Mapping{mapping("192.0.2.10:443", dataplane.TCP, 443, true)}, "there is nothing to map"},
		{"another VIP's port", []Mapping{mapping("192.0.2.10:443", dataplane.TCP, 8080, true)},
			"that is a port of 192.0.2.0/24:8000-8999/tcp, whose answers could not be told from its own"},
		{"another VIP's port of the other protocol", []Mapping{mapping("192.0.2.10:443", dataplane.UDP, 8080, true)}, ""},
		{"another VIP's port at another address", []Mapping{mapping("198.51.100.1:443", dataplane.TCP, 8080, true)}, ""},
	} {
		t.Run(row.promise, func(t *testing.T) {
			kept, refused := Unambiguous(row.wanted, []dataplane.VIP{wide})
			reasons := ""
			for _, r := range refused {
				reasons += r.Reason
			}
			if reasons != row.refused {
				t.Errorf("refused %q, want %q", reasons, row.refused)
			}
			last := row.wanted[len(row.wanted)-1]
			if slices.Contains(kept, last) != (row.refused == "") {
				t.Errorf("kept %v", kept)
			}
		})
	}
}

func TestMappingsNeedTheProgramAndTheirVIP(t *testing.T) {
	o := options()
	o.Mappings, o.NoProgram = []Mapping{mapping("192.0.2.99:443", dataplane.TCP, 20001, false)}, true
	_, _, err := Plan(plainHost(), o)
	for _, want := range []string{"without the program nothing maps ports", "192.0.2.99:443/tcp cannot be mapped: 192.0.2.99 is not one of the VIPs"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestAnswersLeaveByAllThatRoutesDoUnlessTheyAreNamed(t *testing.T) {
	for _, row := range []struct {
		named, want []string
	}{{nil, []string{"eth0", "eth1"}}, {[]string{"eth0"}, []string{"eth0"}}} {
		s := newStage(t)
		s.facts.WaysOut = []string{"eth1"}
		s.o.Mappings, s.o.Out = []Mapping{mapping("192.0.2.10:443", dataplane.TCP, 20001, false)}, row.named
		s.on(t)
		if got := s.programs["eth0"].Out; !slices.Equal(got, row.want) {
			t.Errorf("named %v: %v", row.named, got)
		}
		s.off(t)
	}
}
