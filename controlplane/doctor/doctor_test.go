package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// healthy is a balancer with nothing wrong. What can be brought about in a lab is
// tested there; here is what takes hardware, other kernels, or luck.
func healthy() Facts {
	return Facts{
		Host: Host{
			Release: "6.1.0-23-amd64", Distribution: "debian", BTF: true, BPF: FileSystem{At: "/sys/fs/bpf", Mounted: true}, CPUs: 8,
			Links: map[string]Link{
				"eth0": {Driver: "mlx5_core", Up: true, MTU: 1600, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.20.0.2/16")},
					Channels: Channels{Combined: 8, MostCombi: 16}, Program: Program{ID: 7, Mode: "native", Ours: true}},
				"lo": {Up: true, MTU: 65536},
			},
			Sysctls: map[string]string{"net/ipv4/ip_local_port_range": "32768\t60999"},
		},
		Program:    "pointsman",
		Rights:     Rights{Needed: []string{"CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"}, Path: "/usr/local/bin/pointsman"},
		Config:     Config{Path: "/etc/pointsman/pointsman.hcl"},
		Interfaces: []string{"eth0"},
		Ways:       []Way{{Service: "web", Backend: netip.MustParseAddr("10.20.0.11"), Overhead: 20, IPv6: true, Interface: "eth0", MTU: 1600}},
		NAT:        &NAT{First: 1024, Last: 32767},
		Consul:     &Consul{Address: "127.0.0.1:8500", Here: true, Watches: 3, Limit: 200},
	}
}

func healthyBackend() Facts {
	f := healthy()
	f.Ways, f.NAT, f.Consul = nil, nil, nil
	f.Backend = &Backend{Interface: "eth0", Loopback: true, VIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")},
		NeedsDecap: true, Attached: "native", Takes: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")}, From: []string{"10.20.0.2"},
		Defaults: []Default{{Route: "default via 10.20.0.1 dev eth0", MTU: 1500, Segment: 1440, Overhead: 20}}}
	return f
}

func TestNothingIsFoundOnHostsThatAreWell(t *testing.T) {
	for name, f := range map[string]Facts{"a balancer": healthy(), "a backend": healthyBackend(), "one that nothing is known of, but that it is new": {Host: Host{Release: "7.0", BTF: true, BPF: FileSystem{Mounted: true}}}} {
		if found := Examine(f); len(found) > 0 {
			t.Errorf("on %s: %+v", name, found)
		}
	}
}

// link changes the card.
func link(change func(*Link)) func(*Facts) {
	return func(f *Facts) {
		link := f.Links["eth0"]
		change(&link)
		f.Links["eth0"] = link
	}
}

func fault(reason string) func(*Facts) {
	return func(f *Facts) { f.Consul.Faults = []Fault{{Reason: reason, About: "service web", What: "it said so"}} }
}

func TestEachAilmentIsFoundWithWhatMendsIt(t *testing.T) {
	balancer, backend := healthy, healthyBackend
	for _, row := range []struct {
		promise string
		host    func() Facts
		ail     func(*Facts)
		finds   string
		mend    string
	}{
		{"a kernel that is too old", balancer, func(f *Facts) { f.Release = "5.10.0-30-amd64" }, "failure kernel 5.10.0-30-amd64", "apt-get install linux-image-$(dpkg --print-architecture) && reboot"},
		{"also by the version before the first digit of which there are more", balancer, func(f *Facts) { f.Release = "4.19.0"; f.Distribution = "rocky rhel centos" }, "failure kernel 4.19.0", "dnf upgrade kernel && reboot"},
		{"no types of the kernel", balancer, func(f *Facts) { f.BTF = false; f.Distribution = "ubuntu debian" }, "failure btf /sys/kernel/btf/vmlinux", "apt-get install linux-generic && reboot"},
		{"large receive offload", balancer, link(func(l *Link) { l.Features = map[string]bool{"rx-lro": true} }), "warning lro eth0", "ethtool -K eth0 lro off"},
		{"a hypervisor that merges packets", balancer, link(func(l *Link) { l.Features = map[string]bool{"rx-gro-hw": true}; l.Program = Program{} }), "warning gro-hw eth0", "ethtool -K eth0 rx-gro-hw off"},
		{"but not where the program is in the driver all the same", balancer, link(func(l *Link) { l.Features = map[string]bool{"rx-gro-hw": true} }), "", ""},
		{"no queues left on AWS", balancer, link(func(l *Link) { l.Driver, l.Channels = "ena", Channels{Combined: 8, MostCombi: 8} }), "warning queues eth0", "ethtool -L eth0 combined 4"},
		{"no queues left on Google's cloud", balancer, link(func(l *Link) { l.Driver, l.Channels = "gve", Channels{Combined: 9, MostCombi: 16} }), "warning queues eth0", "ethtool -L eth0 combined 8"},
		{"half of them are enough", balancer, link(func(l *Link) { l.Driver, l.Channels = "ena", Channels{Combined: 4, MostCombi: 8} }), "", ""},
		{"too few for the CPUs of a virtual machine", balancer, link(func(l *Link) { l.Driver, l.Channels = "virtio_net", Channels{Combined: 16, MostCombi: 16} }), "warning queues eth0", "ethtool -L eth0 combined 8"},
		{"too few at all", balancer, link(func(l *Link) { l.Driver, l.Channels = "virtio_net", Channels{Combined: 8, MostCombi: 8} }), "warning queues eth0", "ethtool -l eth0"},
		{"the driver has no XDP", balancer, link(func(l *Link) { l.Program.Mode = "generic" }), "warning generic-mode eth0", "systemctl stop pointsman && pointsman detach && systemctl start pointsman"},
		{"which does not matter on a backend", backend, link(func(l *Link) { l.Program.Mode = "generic" }), "", ""},
		{"tags that the card takes out", balancer, link(func(l *Link) { l.Above, l.Features = []string{"eth0.7"}, map[string]bool{"rx-vlan-hw-parse": true} }), "warning vlan-offload eth0", "ethtool -K eth0 rxvlan off"},
		{"somebody's program, whoever's", balancer, link(func(l *Link) { l.Program = Program{ID: 9, Mode: "native", Unsure: true} }), "", ""},
		{"no route at all", balancer, func(f *Facts) { f.Ways[0].Problem = "no route to 10.20.0.11: add one, or a default route" }, "failure route 10.20.0.11", "ip route get 10.20.0.11"},
		{"ports of nat near the end", balancer, func(f *Facts) { f.NAT.Last = 65535 }, "warning nat-ports net.ipv4.ip_local_port_range", "sysctl -w net.ipv4.ip_local_port_range='32768 60999'"},
		{"an agent elsewhere", balancer, func(f *Facts) {
			fault("unreachable")(f)
			f.Consul.Here, f.Consul.Address = false, "http://10.0.0.5:8500"
		}, "failure consul-unreachable service web", "curl -sS http://10.0.0.5:8500/v1/status/leader"},
		{"servers without a leader", balancer, fault("no leader"), "failure consul-no-leader service web", "consul operator raft list-peers"},
		{"an agent that has no data yet", balancer, fault("no data"), "failure consul-no-leader service web", "consul operator raft list-peers"},
		{"a filter that Consul does not understand", balancer, fault("bad query"), "failure consul-query service web", "pointsman check --consul /etc/pointsman/pointsman.hcl"},
		{"a datacenter that Consul does not know", balancer, func(f *Facts) {
			f.Consul.Faults = []Fault{{Reason: "no leader", About: "service web", What: "Unexpected response code: 500 (No path to datacenter)"}}
		}, "failure consul-query service web", "pointsman check --consul /etc/pointsman/pointsman.hcl"},
		{"connections that are refused", balancer, fault("429"), "failure consul-connections 127.0.0.1:8500", "echo 'limits { http_max_conns_per_client = 400 }' > /etc/consul.d/pointsman-limits.hcl && consul reload"},
		{"a service without an instance is no ailment of this host", balancer, fault("no instance"), "", ""},
		{"a tunnel device with a strict filter", backend, func(f *Facts) { f.Backend.Tunnels = []Tunnel{{Name: "pm44", Filter: 1, Address: true}} }, "failure tunnel-rp-filter net.ipv4.conf.pm44.rp_filter", "sysctl -w net.ipv4.conf.pm44.rp_filter=2"},
		{"one without an address", backend, func(f *Facts) { f.Backend.Tunnels = []Tunnel{{Name: "pm44", Filter: 2, Local: "10.20.0.11"}} }, "failure tunnel-address pm44", "ip address add 10.20.0.11/32 dev pm44"},
		{"which needs none where nothing is filtered", backend, func(f *Facts) { f.Backend.Tunnels = []Tunnel{{Name: "pm44", Filter: 0, Local: "10.20.0.11"}} }, "", ""},
		{"a program that nobody knows the balancers of", backend, func(f *Facts) { f.Backend.Attached, f.Backend.From = "", nil }, "failure decap eth0", "pointsman decap --interface eth0 --vip 192.0.2.10 --from BALANCER"},
		{"segments that are too large for IPv6", backend, func(f *Facts) {
			f.Backend.Defaults = []Default{{IPv6: true, Route: "default via fd00:20::1 dev eth0", MTU: 1500, Overhead: 52}}
		}, "warning mss default via fd00:20::1 dev eth0", "ip -6 route change default via fd00:20::1 dev eth0 advmss 1388"},
		{"an interface whose name has a dot", backend, func(f *Facts) { f.Backend.NoIPv6 = []string{"eth0.7"} }, "failure ipv6-off eth0.7", "sysctl -w net.ipv6.conf.eth0/7.disable_ipv6=0"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			f := row.host()
			row.ail(&f)
			text, mend := "", ""
			for _, one := range Examine(f) {
				text += string(one.Level) + " " + string(one.Kind) + " " + one.About
				mend += one.Mend
			}
			if text != row.finds || mend != row.mend {
				t.Errorf("it finds %q, to be mended by %q", text, mend)
			}
		})
	}
}

// Causes of the slower mode are mended before it is tried again.
func TestTheSlowerModeIsToldOfAfterItsCause(t *testing.T) {
	f := healthy()
	link(func(l *Link) {
		l.Program.Mode, l.Driver, l.Channels = "generic", "ena", Channels{Combined: 8, MostCombi: 8}
	})(&f)
	found := Examine(f)
	if len(found) != 2 || found[0].Kind != fewQueues || found[1].Kind != generic || !strings.Contains(found[1].Advice, "after what else is said of eth0 is mended") {
		t.Errorf("%+v", found)
	}
}

// The largest outer header of those by one interface counts, and the worst is said.
func TestOneMTUIsEnoughForAllWaysByAnInterface(t *testing.T) {
	f := healthy()
	f.Ways = []Way{
		{Backend: netip.MustParseAddr("10.20.0.11"), Overhead: 20, IPv6: true, Interface: "eth0", MTU: 1290},
		{Backend: netip.MustParseAddr("fd00:20::11"), Overhead: 52, Interface: "eth0", MTU: 1290},
		{Backend: netip.MustParseAddr("10.20.0.12"), Overhead: 0, IPv6: true, Interface: "eth0", MTU: 1290},
	}
	found := Examine(f)
	if len(found) != 1 || found[0].Level != Failure || found[0].Mend != "ip link set dev eth0 mtu 1552" {
		t.Errorf("%+v", found)
	}
}

func TestEveryKindIsThereOnce(t *testing.T) {
	kinds := Kinds()
	sorted := slices.Sorted(slices.Values(kinds))
	if len(kinds) < 30 || len(slices.Compact(sorted)) != len(kinds) {
		t.Errorf("there are %q", kinds)
	}
	for reason, kind := range faultKinds {
		if !slices.Contains(kinds, kind) {
			t.Errorf("what %q leads to, %s, is not among %q", reason, kind, kinds)
		}
	}
}

func TestWordsAreQuotedForAShell(t *testing.T) {
	for word, want := range map[string]string{"eth0.7": "eth0.7", "": "''", "/my files/x": "'/my files/x'", "it's": `'it'\''s'`, "$(reboot)": "'$(reboot)'"} {
		if got := quote(word); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
}
