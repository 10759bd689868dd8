package kernel

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestPrivilegedDecapNamesWhatItDoesNotDecapsulate(t *testing.T) {
	b := newDecapBench(t)
	inner4, inner6 := decapInner(false, 0), decapInner(true, 0)
	in4, in6 := decapFrame(decapOuter(false, 0, inner4)), decapFrame(decapOuter(true, 0, inner4))
	from := func(source string, inner []byte) []byte {
		addr, to := netip.MustParseAddr(source), decapBackend6
		if addr.Is4() {
			to = decapBackend4
		}
		return decapFrame(decapIP(addr, to, decapProtocol(inner), 0, inner))
	}
	to := func(vip string) []byte {
		addr, client := netip.MustParseAddr(vip), decapClient6
		if addr.Is4() {
			client = decapClient4
		}
		return decapFrame(decapOuter(false, 0, decapIP(client, addr, 17, 0, make([]byte, 8))))
	}
	// An outer IPv6 header with one extension header before the inner packet.
	extended := func(kind, next byte) []byte {
		extension := []byte{next, 0, 0, 0, 0, 0, 0, 1}
		return decapFrame(decapIP(decapBalancer6, decapBackend6, kind, 0, append(extension, inner4...)))
	}
	options := decapOuter(false, 0, append([]byte{1, 1, 1, 1}, inner4...))
	options[0], options[9] = 0x46, 4

	rows := []struct {
		name    string
		frame   []byte
		outcome string
	}{
		{"ARP is none of our business", decapChanged(in4, 12, 0x08, 0x06), "PASS_NOT_TUNNEL"},
		{"a datagram to the VIP itself needs no decapsulation", decapFrame(inner4), "PASS_NOT_TUNNEL"},
		{"a datagram to the IPv6 VIP itself neither", decapFrame(inner6), "PASS_NOT_TUNNEL"},
		{"GRE is another tunnel", decapSummed(decapChanged(in4, 23, 47)), "PASS_NOT_TUNNEL"},
		{"GRE over IPv6 too", decapChanged(in6, 20, 47), "PASS_NOT_TUNNEL"},
		{"a fragment of a datagram is not a tunnel's", extended(44, 17), "PASS_NOT_TUNNEL"},
		{"a frame with a VLAN tag is the VLAN interface's", decapChanged(in4, 12, 0x81, 0x00), "PASS_TAGGED"},
		{"a provider's tag counts as well", decapChanged(in4, 12, 0x88, 0xa8), "PASS_TAGGED"},

		{"an address that is not a VIP of ours is left to the host", to("192.0.2.11"), "PASS_NOT_OUR_VIP"},
		{"an IPv6 address that is not a VIP of ours too", to("2001:db8:10::11"), "PASS_NOT_OUR_VIP"},
		{"an address just below a VIP's prefix too", to("192.0.2.127"), "PASS_NOT_OUR_VIP"},
		{"and one beside an IPv6 VIP's prefix", to("2001:db8:10:2::"), "PASS_NOT_OUR_VIP"},
		{"a VIP's prefix mapped into IPv6 is not that VIP", to("::ffff:192.0.2.200"), "PASS_NOT_OUR_VIP"},
		{"a stranger may not tunnel to a VIP's prefix", from("10.0.0.4", to("192.0.2.255")[34:]), "DROP_SOURCE_NOT_ALLOWED"},
		{"a VIP mapped into IPv6 is not that VIP", to("::ffff:192.0.2.10"), "PASS_NOT_OUR_VIP"},
		{"not our VIP comes before not our balancer", from("10.9.9.9", to("192.0.2.11")[34:]), "PASS_NOT_OUR_VIP"},

		{"a stranger may not tunnel to the VIP", from("10.0.0.4", inner4), "DROP_SOURCE_NOT_ALLOWED"},
		{"nor to the IPv6 VIP", from("10.0.0.4", inner6), "DROP_SOURCE_NOT_ALLOWED"},
		{"nor over IPv6", from("fd00:0:0:1::1", inner4), "DROP_SOURCE_NOT_ALLOWED"},
		{"nor with a balancer's IPv4 address mapped into IPv6", from("::ffff:10.0.0.1", inner4), "DROP_SOURCE_NOT_ALLOWED"},

		{"a first fragment of a tunnel packet is left to the host", decapSummed(decapChanged(in4, 20, 0x20)), "PASS_OUTER_FRAGMENT"},
		{"a later fragment too", decapSummed(decapChanged(in4, 20, 0x00, 0x10)), "PASS_OUTER_FRAGMENT"},
		{"a fragment over IPv6 too", extended(44, 4), "PASS_OUTER_FRAGMENT"},
		{"IPv4 options are left to the host", decapSummed(decapFrame(options)), "PASS_OUTER_OPTIONS"},
		{"a tunnel encapsulation limit (RFC 2473) is left to the host", extended(60, 4), "PASS_OUTER_OPTIONS"},
		{"hop-by-hop options too", extended(0, 41), "PASS_OUTER_OPTIONS"},
		{"a routing header too", extended(43, 4), "PASS_OUTER_OPTIONS"},

		{"version 5 in a frame of IPv4", decapSummed(decapChanged(in4, 14, 0x55)), "PASS_OUTER_SENSELESS"},
		{"version 4 in a frame of IPv6", decapChanged(in6, 14, 0x40), "PASS_OUTER_SENSELESS"},
		{"an IPv4 header of 16 bytes", decapChanged(in4, 14, 0x44), "PASS_OUTER_SENSELESS"},
		{"a length shorter than its header", decapSummed(decapChanged(in4, 16, 0, 19)), "PASS_OUTER_SENSELESS"},
		{"an outer checksum that is wrong", decapChanged(in4, 24, in4[24]^1), "PASS_OUTER_SENSELESS"},
		{"IPv6 where IPv4 was promised", decapChanged(in4, 34, 0x60), "PASS_INNER_SENSELESS"},
		{"IPv4 where IPv6 was promised", decapChanged(decapFrame(decapOuter(false, 0, inner6)), 34, 0x45), "PASS_INNER_SENSELESS"},
		{"an inner header of 16 bytes", decapChanged(in4, 34, 0x44), "PASS_INNER_SENSELESS"},
		{"an inner length shorter than the inner header", decapChanged(in4, 36, 0, 19), "DROP_INNER_LENGTH"},
		{"an inner length shorter than the inner options", decapChanged(in4, 34, 0x4f), "DROP_INNER_LENGTH"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) { b.check(t, row.frame, row.outcome, nil) })
	}
}

func TestPrivilegedDecapAllowsOneFamilyWithoutTheOther(t *testing.T) {
	b := newDecapBench(t)
	anybody := DecapOptions{VIPs: decapVIPs, From: []netip.Prefix{netip.MustParsePrefix("::/0")}}.tables()
	if err := errors.Join(anybody.putAddresses(b.objs), anybody.keep(b.objs)); err != nil {
		t.Fatal(err)
	}
	inner := decapInner(false, 0)
	b.check(t, decapFrame(decapOuter(true, 0, inner)), "DECAPSULATE", decapFrame(inner))
	b.check(t, decapFrame(decapOuter(false, 0, inner)), "DROP_SOURCE_NOT_ALLOWED", nil)
}

func TestPrivilegedDecapTakesInWhatIsForAVIPsPrefix(t *testing.T) {
	b := newDecapBench(t)
	for _, vip := range []string{"192.0.2.128", "192.0.2.255", "2001:db8:10:1::", "2001:db8:10:1:ffff:ffff:ffff:ffff"} {
		addr, client := netip.MustParseAddr(vip), decapClient6
		if addr.Is4() {
			client = decapClient4
		}
		inner := decapIP(client, addr, 17, 0, make([]byte, 8))
		b.check(t, decapFrame(decapOuter(false, 0, inner)), "DECAPSULATE", decapFrame(inner))
		b.check(t, decapFrame(decapOuter(true, 0, inner)), "DECAPSULATE", decapFrame(inner))
	}
}

// Inner options and fragments are the host's to judge: decapsulation does not
// look behind the inner destination.
func TestPrivilegedDecapKeepsInnerPeculiarities(t *testing.T) {
	b := newDecapBench(t)
	fragment := decapInner(false, 0)
	fragment[6], fragment[7] = 0x20, 0x00
	decapSum(fragment)
	withOptions := decapIP(decapClient4, decapVIP4, 17, decapECT0, make([]byte, 12))
	withOptions[0] = 0x46
	decapSum(withOptions)
	marked := append([]byte(nil), withOptions...)
	marked[1] = decapCE
	decapSum(marked)

	b.check(t, decapFrame(decapOuter(false, 0, fragment)), "DECAPSULATE", decapFrame(fragment))
	b.check(t, decapFrame(decapOuter(false, decapCE, withOptions)), "DECAPSULATE", decapFrame(marked))
}

func TestDecapOutcomesSayTheirVerdictAndFitTheCounters(t *testing.T) {
	spec, err := loadDecap()
	if err != nil {
		t.Fatal(err)
	}
	var outcomes *btf.Enum
	if err := spec.Types.TypeByName("decap_outcome", &outcomes); err != nil {
		t.Fatal(err)
	}
	for i, outcome := range outcomes.Values {
		named := strings.HasPrefix(outcome.Name, "PASS_") || strings.HasPrefix(outcome.Name, "DROP_")
		if named == (i == 0) || outcome.Value >= uint64(spec.Maps[decapMapDecapCounters].MaxEntries) {
			t.Errorf("outcome %d is %s", outcome.Value, outcome.Name)
		}
	}
}
