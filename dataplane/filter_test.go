package dataplane

import "testing"

func TestAPacketFilterIsReadAsOperatorsWriteIt(t *testing.T) {
	for _, row := range []struct{ vip, client, want string }{
		{"", "", ""},
		{"192.0.2.10", "", "to 192.0.2.10/32"},
		{"192.0.2.10:443", "", "to 192.0.2.10/32 port 443"},
		{"192.0.2.10:443/tcp", "", "to 192.0.2.10/32 port 443 tcp"},
		{"192.0.2.10:53/udp", "198.51.100.7", "to 192.0.2.10/32 port 53 udp from 198.51.100.7/32"},
		{"192.0.2.77/24", "", "to 192.0.2.0/24"},
		{"2001:db8::10", "2001:db8:7::/48", "to 2001:db8::10/128 from 2001:db8:7::/48"},
		{"[2001:db8::10]", "", "to 2001:db8::10/128"},
		{"[2001:db8::10]:443/tcp", "", "to 2001:db8::10/128 port 443 tcp"},
		{"2001:db8::/32", "", "to 2001:db8::/32"},
	} {
		f, err := ParsePacketFilter(row.vip, row.client)
		if err != nil || f.String() != row.want {
			t.Errorf("--vip %q --client %q is %q, %v; want %q", row.vip, row.client, f, err, row.want)
		}
	}
}

func TestWhatIsNoPacketFilterIsRefused(t *testing.T) {
	for _, row := range [][2]string{
		{"web", ""}, {"192.0.2.10:https", ""}, {"192.0.2.10:443/sctp", ""}, {"192.0.2.10/33", ""}, {"192.0.2.10:443:1", ""},
		{"192.0.2.10:70000", ""}, {"2001:db8::10:443/tcp", ""}, {"fe80::1%eth0", ""},
		{"", "198.51.100.7:4000"}, {"", "somebody"}, {"", "198.51.100.0/99"},
	} {
		if f, err := ParsePacketFilter(row[0], row[1]); err == nil {
			t.Errorf("--vip %q --client %q is taken for %q", row[0], row[1], f)
		}
	}
}
