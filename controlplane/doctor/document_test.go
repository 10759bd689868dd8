package doctor

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documented is a row of docs/doctor.md.
type documented struct {
	levels string
	mends  []*regexp.Regexp
}

// blank is a word that the doctor fills in, with any number of words.
var blank = regexp.MustCompile(`\b(PACKAGE|DIR|RIGHTS|FILE|RANGE|ADDRESS|INTERFACE|ID|NUMBER|ROUTE|URL|POLICY|SECRET|ACCESSOR|LIMITS|VIP|BALANCER|OPTIONS|PREFIX)\b`)

func readDocument(t *testing.T) (kinds []Kind, rows map[Kind]documented) {
	t.Helper()
	text, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	rows = map[Kind]documented{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| ([a-z, ]+) \\| [^|]+ \\| (.+) \\|$").FindAllStringSubmatch(string(text), -1) {
		one := documented{levels: row[2]}
		for _, code := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[3], -1) {
			pattern := blank.ReplaceAllString(regexp.QuoteMeta(code[1]), ".+")
			one.mends = append(one.mends, regexp.MustCompile("^"+pattern+"$"))
		}
		kinds = append(kinds, Kind(row[1]))
		rows[Kind(row[1])] = one
	}
	return kinds, rows
}

// sick are hosts that have all ailments among them.
func sick() []Facts {
	ill := Facts{Host: Host{Release: "5.4.0", Distribution: "debian", BPF: FileSystem{At: "/sys/fs/bpf"}, CPUs: 4, Sysctls: map[string]string{"net/ipv4/ip_local_port_range": "1024 60999"},
		Links: map[string]Link{
			"eth0": {Program: Program{ID: 1, Mode: "native"}, MTU: 1500, Features: map[string]bool{"rx-lro": true, "rx-vlan-hw-parse": true}, Above: []string{"eth0.7"}},
			"eth1": {Up: true, Program: Program{ID: 2, Mode: "generic", Ours: true}, Driver: "ena", Channels: Channels{Combined: 4, MostCombi: 4}, Features: map[string]bool{"rx-gro-hw": true}},
			"eth2": {Up: true, Program: Program{ID: 3, Mode: "native", Link: 8}, Kind: "veth", Channels: Channels{RX: 1}, PeerSendsBy: 2},
		}},
		Program: "pointsman", Rights: Rights{Missing: []string{"CAP_BPF"}, Needed: []string{"CAP_BPF"}, Path: "/bin/pointsman"},
		Config: Config{"/etc/pointsman/pointsman.hcl", []string{"a mistake"}}, Interfaces: []string{"eth0", "eth1", "eth2", "eth7"},
		NAT: &NAT{First: 1024, Last: 32767, Sources: []netip.Addr{netip.MustParseAddr("10.0.0.9")}},
		Ways: []Way{
			{Backend: netip.MustParseAddr("10.0.0.11"), Interface: "eth1", Silent: netip.MustParseAddr("10.0.0.11"), Problem: "it does not answer"},
			{Backend: netip.MustParseAddr("10.0.0.12"), Problem: "no route"},
			{Backend: netip.MustParseAddr("10.0.0.13"), Interface: "eth1", MTU: 1500, Overhead: 20},
			{Backend: netip.MustParseAddr("10.0.0.14"), Interface: "eth1", MTU: 1290, Overhead: 20, IPv6: true, Route: "10.0.0.14 dev eth1"},
		},
		Consul: &Consul{Address: "http://127.0.0.1:8500", Watches: 150}}
	for reason := range faultKinds {
		if reason != "429" {
			ill.Consul.Faults = append(ill.Consul.Faults, Fault{Reason: reason})
		}
	}
	backend := Facts{Host: ill.Host, Program: "pointsman", Interfaces: []string{"eth1"}, Backend: &Backend{Interface: "eth1",
		VIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, NoIPv6: []string{"lo"}, NeedsDecap: true,
		Missing: []Change{{"sysctl", "net/ipv4/conf/eth1/arp_ignore", "1", ""}, {"sysctl", "net/ipv4/conf/eth1/arp_announce", "2", ""},
			{"sysctl", "net/ipv4/conf/eth1/rp_filter", "2", ""}, {"address", "192.0.2.1", "", ""}, {"address", "2001:db8::1", "", ""}, {"route", "192.0.2.0/28", "", ""}},
		Elsewhere: map[string]string{"192.0.2.2": "eth1"}, Tunnels: []Tunnel{{"pm44", 1, false, "10.0.0.11"}},
		Defaults: []Default{{Route: "default dev eth1", MTU: 1500, Overhead: 20}, {IPv6: true, Route: "default dev eth1", MTU: 1500, Overhead: 20}}}}
	attached, idle := backend, backend
	attached.Backend = &Backend{Attached: "native", VIPs: backend.Backend.VIPs, Mappings: []string{"m"}, Unmapped: []string{"m"}}
	idle.Backend = &Backend{Loopback: true}
	return []Facts{ill, backend, attached, idle}
}

func TestTheDocumentSaysWhatTheDoctorSays(t *testing.T) {
	kinds, rows := readDocument(t)
	if !slices.Equal(kinds, Kinds()) {
		t.Errorf("the document has\n%q,\nthe program\n%q", kinds, Kinds())
	}
	seen := map[Kind]bool{}
	for _, facts := range sick() {
		for _, f := range Examine(facts) {
			seen[f.Kind] = true
			row := rows[f.Kind]
			if !slices.Contains(strings.Split(row.levels, ", "), string(f.Level)) {
				t.Errorf("%s is a %s here, and %q in the document", f.Kind, f.Level, row.levels)
			}
			if !slices.ContainsFunc(row.mends, func(p *regexp.Regexp) bool { return p.MatchString(f.Mend) }) {
				t.Errorf("%s is mended by %q, and that is none of %v", f.Kind, f.Mend, row.mends)
			}
		}
	}
	for _, kind := range Kinds() {
		if !seen[kind] {
			t.Errorf("nobody here suffers from %s", kind)
		}
	}
}

// Of what Consul's client can stumble over, only what is no ailment of this host has no finding.
func TestEveryReasonToHoldAViewIsKnown(t *testing.T) {
	text, err := os.ReadFile("../discovery/consul/fault.go")
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`(?m)^\t\w+ +Reason = "([^"]+)"`).FindAllStringSubmatch(string(text), -1)
	if len(reasons) < 10 {
		t.Errorf("only %d were found", len(reasons))
	}
	for _, reason := range reasons {
		if faultKinds[reason[1]] == "" && reason[1] != "no instance" && reason[1] != "index went back" {
			t.Errorf("nothing is found where %q is the reason", reason[1])
		}
	}
}
