package wild

import (
	"net/netip"

	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

func addresses(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// The universe is small, so that packets meet. What is listed more than once
// is drawn more often.
var (
	vipAddresses = addresses("192.0.2.10", "192.0.2.11", "2001:db8:10::10", "2001:db8:10::11")
	vipPorts     = []uint16{80, 53, 443, 4500}

	clients4 = addresses("198.51.100.7", "198.51.100.7", "198.51.100.8", "198.51.100.9", "203.0.113.25",
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "223.255.255.255", "192.0.2.10")
	clients6 = addresses("2001:db8:7::7", "2001:db8:7::7", "2001:db8:7::8", "2001:db8:20::25",
		"::", "::1", "ff02::1", "::2", "::ffff:198.51.100.7", "fe80::1", "2001:db8:10::10")
	others4 = addresses("192.0.2.10", "192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.99", "10.1.2.3", "192.0.2.11")
	others6 = addresses("2001:db8:10::10", "2001:db8:10::10", "2001:db8:10::11", "2001:db8:10::12",
		"::ffff:192.0.2.10", "2001:db8:10::11", "ff02::1")

	clientPorts = []uint16{40000, 40001, 40002, 40003, 53, 80, 0, 65535}
	ports       = []uint16{80, 80, 53, 443, 443, 4500, 81, 0, 8080}

	clientMACs  = []packet.MAC{{2, 0, 0, 0, 0, 7}, {2, 0, 0, 0, 2, 1}, {2, 0, 0, 0, 2, 3}}
	balancerMAC = packet.MAC{2, 0, 0, 0, 0, 1}
)

// Wide VIPs: prefixes, and ports from one to another; 0 to 0 is none, and a
// block begins at a multiple of its size.
var (
	widePrefixes = []netip.Prefix{
		netip.MustParsePrefix("192.0.2.10/32"), netip.MustParsePrefix("192.0.2.8/29"), netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("2001:db8:10::10/128"), netip.MustParsePrefix("2001:db8:10::/64"), netip.MustParsePrefix("::/0"),
	}
	widePorts = [][2]uint16{{80, 0}, {4500, 0}, {8080, 8087}, {52, 55}, {0, 65535}}
)

// Outcomes are those that packets have often enough to ask for each.
var Outcomes = []oracle.Outcome{
	oracle.Forward, oracle.PassNotIP, oracle.PassNotTCPUDP, oracle.PassNotVIP, oracle.PassUnreadable,
	oracle.PassICMP, oracle.ReplyEcho, oracle.ReplyTooBig, oracle.ReplyTooBigNoDF,
	oracle.DropUnreadable, oracle.DropBadLength, oracle.DropBadFlags, oracle.DropLoop, oracle.DropFragment,
	oracle.DropICMPQuote, oracle.DropNoBackend, oracle.DropTooBig, oracle.DropNoEgress,
}
