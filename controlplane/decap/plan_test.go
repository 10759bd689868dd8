package decap

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func vips(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, prefix)
			continue
		}
		addr := netip.MustParseAddr(text)
		all = append(all, netip.PrefixFrom(addr, addr.BitLen()))
	}
	return all
}

// plainHost is a backend as Debian sets it up: one interface, all sysctls at
// the kernel's defaults.
func plainHost() Facts {
	facts := Facts{
		BootID:     "this boot",
		LoopbackUp: true,
		Interfaces: []string{"lo", "eth0", "eth1"},
		Addresses: map[netip.Addr][]string{
			netip.MustParseAddr("127.0.0.1"): {"lo"},
			netip.MustParseAddr("10.0.0.2"):  {"eth0"},
		},
		Local:    map[netip.Prefix]bool{netip.MustParsePrefix("127.0.0.0/8"): true},
		RoutesBy: []string{"eth0"},
		Sysctls:  make(map[string]string),
	}
	for _, iface := range []string{"eth0", "eth1"} {
		for _, path := range sysctlsOf(iface) {
			facts.Sysctls[path] = "0"
		}
	}
	return facts
}

func options() Options {
	return Options{
		Interface: "eth0",
		VIPs:      vips("192.0.2.10"),
		From:      []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		PinDir:    "/pins",
	}
}

// summary is a change as a test row spells it.
func summary(c Change) string {
	name := strings.TrimPrefix(strings.TrimPrefix(c.Name, "net/ipv4/conf/"), "net/ipv6/conf/")
	switch c.Kind {
	case Sysctl:
		return name + " " + c.Before + "→" + c.After
	case Address:
		return name + " on lo"
	case Route:
		return name + " to lo"
	}
	return "program on " + name
}

func TestPlan(t *testing.T) {
	sysctl := func(iface, name, value string) func(*Facts, *Options) {
		return func(f *Facts, _ *Options) { f.Sysctls[conf("ipv4", iface, name)] = value }
	}
	all := func(changes ...func(*Facts, *Options)) func(*Facts, *Options) {
		return func(f *Facts, o *Options) {
			for _, change := range changes {
				change(f, o)
			}
		}
	}
	otherRoute := func(f *Facts, _ *Options) { f.RoutesBy = append(f.RoutesBy, "eth1") }
	rows := []struct {
		name   string
		host   func(*Facts, *Options)
		want   string
		warned string
	}{
		{"a plain host gets ARP settings, then the VIP, then the program", func(*Facts, *Options) {},
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, 192.0.2.10 on lo, program on eth0", ""},
		{"ARP settings for all interfaces count for ours", all(sysctl("all", "arp_ignore", "1"), sysctl("all", "arp_announce", "2")),
			"192.0.2.10 on lo, program on eth0", ""},
		{"a weaker ARP announcement is not enough", all(sysctl("all", "arp_ignore", "2"), sysctl("eth0", "arp_announce", "1")),
			"eth0/arp_announce 1→2, 192.0.2.10 on lo, program on eth0", ""},
		{"strict reverse path filtering is loosened where clients may be elsewhere", all(sysctl("eth0", "rp_filter", "1"), otherRoute),
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, eth0/rp_filter 1→2, 192.0.2.10 on lo, program on eth0", ""},
		{"strict for all interfaces is strict for ours", all(sysctl("all", "rp_filter", "1"), otherRoute),
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, eth0/rp_filter 0→2, 192.0.2.10 on lo, program on eth0", ""},
		{"loose for all interfaces overrides strict on ours", all(sysctl("all", "rp_filter", "2"), sysctl("eth0", "rp_filter", "1"), otherRoute),
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, 192.0.2.10 on lo, program on eth0", ""},
		{"strict stays where all routes leave by our interface", sysctl("eth0", "rp_filter", "1"),
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, 192.0.2.10 on lo, program on eth0", ""},
		{"an IPv6 VIP needs no sysctl", func(_ *Facts, o *Options) { o.VIPs = vips("2001:db8::10") },
			"2001:db8::10 on lo, program on eth0", ""},
		{"VIPs are put on lo once each, in order", func(_ *Facts, o *Options) { o.VIPs = vips("2001:db8::10", "2001:db8::9", "2001:db8::10") },
			"2001:db8::9 on lo, 2001:db8::10 on lo, program on eth0", ""},
		{"a VIP that is on lo already is left alone", func(f *Facts, _ *Options) { f.Addresses[netip.MustParseAddr("192.0.2.10")] = []string{"eth1", "lo"} },
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, program on eth0", ""},
		{"a VIP on another interface is left there, with a warning", func(f *Facts, _ *Options) { f.Addresses[netip.MustParseAddr("192.0.2.10")] = []string{"eth1"} },
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, program on eth0", "192.0.2.10 is an address of eth1 already"},
		{"a prefix is routed to lo, after the addresses", func(_ *Facts, o *Options) {
			o.VIPs = vips("2001:db8::/64", "192.0.2.64/26", "192.0.2.10", "192.0.2.64/26")
		}, "eth0/arp_ignore 0→1, eth0/arp_announce 0→2, 192.0.2.10 on lo, 192.0.2.64/26 to lo, 2001:db8::/64 to lo, program on eth0", ""},
		{"a prefix that is routed to lo already is left alone", func(f *Facts, o *Options) {
			o.VIPs = vips("2001:db8::/64")
			f.Local[o.VIPs[0]] = true
		}, "program on eth0", ""},
		{"a backend for l2 needs no program and no balancer's address", func(_ *Facts, o *Options) { o.NoProgram, o.From = true, nil },
			"eth0/arp_ignore 0→1, eth0/arp_announce 0→2, 192.0.2.10 on lo", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			facts, o := plainHost(), options()
			row.host(&facts, &o)
			changes, warnings, err := Plan(facts, o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, summary(c))
			}
			if strings.Join(got, ", ") != row.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), row.want)
			}
			if !strings.HasPrefix(strings.Join(warnings, ""), row.warned) || row.warned == "" && len(warnings) > 0 {
				t.Errorf("warned %q, want %q", warnings, row.warned)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	rows := []struct {
		name   string
		change func(*Facts, *Options)
		want   []string
	}{
		{"to do nothing", func(_ *Facts, o *Options) { o.VIPs = nil }, []string{"no VIP is given"}},
		{"tunnel packets from anybody", func(_ *Facts, o *Options) { o.From = nil }, []string{"no address of a balancer"}},
		{"addresses that cannot be VIPs", func(_ *Facts, o *Options) { o.VIPs = vips("127.0.0.1", "ff02::1", "0.0.0.0", "fe80::1", "224.0.0.0/4") },
			[]string{"127.0.0.1 cannot", "ff02::1 cannot", "0.0.0.0 cannot", "fe80::1 cannot", "224.0.0.0/4 cannot"}},
		{"an interface that is not there", func(_ *Facts, o *Options) { o.Interface = "eth9" }, []string{"no interface eth9; there are [lo eth0 eth1]"}},
		{"lo", func(_ *Facts, o *Options) { o.Interface = "lo" }, []string{"do not arrive on lo"}},
		{"a host whose lo is down", func(f *Facts, _ *Options) { f.LoopbackUp = false }, []string{"lo is down: `ip link set lo up` first"}},
		{"an IPv6 VIP without IPv6", func(f *Facts, o *Options) {
			o.VIPs = vips("2001:db8::10")
			f.Sysctls["net/ipv6/conf/eth0/disable_ipv6"] = "1"
			f.Sysctls["net/ipv6/conf/lo/disable_ipv6"] = "1"
		}, []string{"IPv6 is switched off on eth0", "IPv6 is switched off on lo"}},
		{"several things at once", func(f *Facts, o *Options) { f.LoopbackUp, o.From, o.Interface = false, nil, "eth9" },
			[]string{"lo is down", "no address of a balancer", "no interface eth9"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			facts, o := plainHost(), options()
			row.change(&facts, &o)
			changes, _, err := Plan(facts, o)
			if err == nil || len(changes) > 0 {
				t.Fatalf("planned %v, %v", changes, err)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestPlanOfAHostThatIsReadyIsTheProgramAlone(t *testing.T) {
	facts, o := plainHost(), options()
	changes, _, err := Plan(facts, o)
	if err != nil {
		t.Fatal(err)
	}
	host := &fakeHost{facts: facts}
	for _, c := range changes {
		if c.Kind != Tunnel {
			if err := host.change(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	again, _, err := Plan(host.facts, o)
	if err != nil || len(again) != 1 || again[0].Kind != Tunnel {
		t.Errorf("planned %v, %v", again, err)
	}
	before, _, err := Plan(host.facts.without(changes), o)
	if err != nil || !slices.Equal(before, changes) {
		t.Errorf("without the changes planned %v, %v", before, err)
	}
}
