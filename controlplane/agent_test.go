package controlplane

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/controlplane/desired"
	"github.com/pointsman/pointsman/dataplane"
)

var ownAddresses = []netip.Prefix{netip.MustParsePrefix("10.20.0.11/24"), netip.MustParsePrefix("2001:db8:20::11/64"), netip.MustParsePrefix("127.0.0.1/8")}

func mapping(vip string, local uint16, named bool) decap.Mapping {
	return decap.Mapping{VIP: netip.MustParseAddrPort(vip), Protocol: dataplane.TCP, Local: local, Named: named}
}

// needed is what a file makes necessary on the host, as text.
func needed(t *testing.T, service string, held ...decap.Mapping) string {
	t.Helper()
	file, err := config.Parse("pointsman.hcl", []byte(`
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24"]
service "web" {
  listen = ["192.0.2.10:443/tcp"]
`+service+"\n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	instances := map[string][]desired.Instance{"web": staticInstances(file.Services[0])}
	for i := range instances["web"] { // weight 7 stands for a critical instance
		if instances["web"][i].WeightPassing == 7 {
			instances["web"][i].Status = desired.Critical
		}
	}
	n := needsOf(file, instances, ownAddresses, held)
	lines := []string{fmt.Sprint(n.vips)}
	kept, refused := decap.Unambiguous(n.mappings, n.taken)
	for _, m := range kept {
		lines = append(lines, fmt.Sprintf("%s named %v", m, m.Named))
	}
	for _, r := range append(refused, n.refused...) {
		lines = append(lines, fmt.Sprintf("not %s: %s", r.Mapping, r.Reason))
	}
	return strings.Join(lines, "\n")
}

func TestAHostMapsWhatItsInstancesNeed(t *testing.T) {
	for _, row := range []struct {
		promise, service string
		held             []decap.Mapping
		want             string
	}{
		{"none of its addresses is a backend", `backend "10.20.0.12" {}`, nil, "[]"},
		{"it is a backend on the VIP's port", `backend "10.20.0.11" {}`, nil, "[192.0.2.10/32]"},
		{"it is one on another port", "port_mapping = true\n" + `backend "10.20.0.11:20001" {}`, nil,
			"[192.0.2.10/32]\n192.0.2.10:443/tcp to port 20001 named false"},
		{"GUE names ports, of either family's address", "port_mapping = true\nforward = \"gue\"\n" +
			"backend \"10.20.0.11:20001\" {}\nbackend \"[2001:db8:20::11]:20002\" {}\nbackend \"10.20.0.11\" {}\nbackend \"10.20.0.12:20003\" {}", nil,
			"[192.0.2.10/32]\n192.0.2.10:443/tcp to port 20001 named true\n192.0.2.10:443/tcp to port 20002 named true"},
		{"under ipip the lowest port of several", "port_mapping = true\nbackend \"10.20.0.11:20002\" {}\nbackend \"[2001:db8:20::11]:20001\" {}", nil,
			"[192.0.2.10/32]\n192.0.2.10:443/tcp to port 20001 named false\n" +
				"not 192.0.2.10:443/tcp to port 20002: port 20001 is an instance of it, too, and nothing in the tunnel tells them apart: with forward = \"gue\" it does"},
		{"but rather the one that is mapped", "port_mapping = true\nbackend \"10.20.0.11:20002\" {}\nbackend \"[2001:db8:20::11]:20001\" {}",
			[]decap.Mapping{mapping("192.0.2.10:443", 20002, false)},
			"[192.0.2.10/32]\n192.0.2.10:443/tcp to port 20002 named false\n" +
				"not 192.0.2.10:443/tcp to port 20001: port 20002 is an instance of it, too, and nothing in the tunnel tells them apart: with forward = \"gue\" it does"},
		{"and first of all the one that is well", "port_mapping = true\nbackend \"10.20.0.11:20002\" { weight = 7 }\nbackend \"[2001:db8:20::11]:20003\" {}",
			[]decap.Mapping{mapping("192.0.2.10:443", 20002, false)},
			"[192.0.2.10/32]\n192.0.2.10:443/tcp to port 20003 named false\n" +
				"not 192.0.2.10:443/tcp to port 20002: port 20003 is an instance of it, too, and nothing in the tunnel tells them apart: with forward = \"gue\" it does"},
		{"one on the VIP's own port needs no mapping, and leaves no room for others", "port_mapping = true\nbackend \"10.20.0.11\" {}\nbackend \"[2001:db8:20::11]:20001\" {}", nil,
			"[192.0.2.10/32]\nnot 192.0.2.10:443/tcp to port 20001: an instance listens on the VIP's own port, and nothing in the tunnel tells them apart: with forward = \"gue\" it does"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if got := needed(t, row.service, row.held...); got != row.want {
				t.Errorf("got\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

func TestWhatNothingNeedsAnyMoreStaysForAWhile(t *testing.T) {
	a, b := mapping("192.0.2.10:443", 20001, true), mapping("192.0.2.10:443", 20002, true)
	held, noon, until := []decap.Mapping{a, b}, time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), map[any]time.Time{}
	for _, row := range []struct {
		at     time.Duration
		wanted []decap.Mapping
		stays  []decap.Mapping
		next   time.Duration
	}{
		{0, held, nil, 0},
		{time.Minute, []decap.Mapping{a}, []decap.Mapping{b}, 10 * time.Minute},
		{3 * time.Minute, nil, held, 8 * time.Minute},
		{4 * time.Minute, []decap.Mapping{b}, []decap.Mapping{a}, 9 * time.Minute}, // it came back
		{13 * time.Minute, []decap.Mapping{b}, nil, 0},
		{14 * time.Minute, nil, []decap.Mapping{b}, 10 * time.Minute},
	} {
		stays, next := stay(until, held, row.wanted, noon.Add(row.at), 10*time.Minute)
		if !slices.Equal(stays, row.stays) || next != row.next {
			t.Errorf("after %v: %v, again in %v", row.at, stays, next)
		}
	}
}
