package wild

import (
	"net/netip"
	"slices"

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
	vips4        = addresses("192.0.2.10", "192.0.2.11")
	vips6        = addresses("2001:db8:10::10", "2001:db8:10::11")
	vipAddresses = slices.Concat(vips4, vips6)
	vipPorts     = []uint16{80, 53, 443, 4500}

	clients4 = addresses("198.51.100.7", "198.51.100.7", "198.51.100.8", "198.51.100.9", "203.0.113.25",
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "223.255.255.255", "192.0.2.10")
	clients6 = addresses("2001:db8:7::7", "2001:db8:7::7", "2001:db8:7::8", "2001:db8:20::25",
		"::", "::1", "ff02::1", "::2", "::ffff:198.51.100.7", "fe80::1", "2001:db8:10::10")
	others4 = addresses("203.0.113.1", "192.0.2.12", "192.0.2.99", "192.0.2.9", "10.1.2.3", "203.0.113.25")
	others6 = addresses("2001:db8:20::1", "2001:db8:10::12", "2001:db8:10::10:0", "::ffff:192.0.2.10", "ff02::1")

	clientPorts = []uint16{40000, 40001, 40002, 40003, 53, 80, 0, 65535}
	otherPorts  = []uint16{81, 0, 8080}

	clientMACs  = []packet.MAC{{2, 0, 0, 0, 0, 7}, {2, 0, 0, 0, 2, 1}, {2, 0, 0, 0, 2, 3}}
	balancerMAC = packet.MAC{2, 0, 0, 0, 0, 1}
	groupMAC    = packet.MAC{0x33, 0x33, 0, 0, 0, 1}
)

// Wide VIPs lie around the VIPs' addresses, in prefixes of these lengths; and their
// ranges of ports begin and end at edges, of blocks and others.
var (
	prefixBits4 = []int{0, 1, 8, 24, 25, 28, 29, 30, 31, 32, 32}
	prefixBits6 = []int{0, 1, 32, 64, 80, 112, 120, 126, 127, 128, 128}
	edges       = []uint16{1, 53, 79, 80, 81, 443, 4096, 4499, 4500, 4501, 8079, 8080, 8087, 8088, 32767, 32768, 65534, 65535}
)

// Outcomes are those that packets have often enough to ask for each.
var Outcomes = []oracle.Outcome{
	oracle.Forward, oracle.PassNotIP, oracle.PassNotTCPUDP, oracle.PassNotVIP, oracle.PassUnreadable,
	oracle.PassICMP, oracle.ReplyEcho, oracle.ReplyTooBig, oracle.ReplyTooBigNoDF,
	oracle.ReplyBackend, oracle.ReplySourceRoute, oracle.DropNoConnection, oracle.DropNATFull, oracle.DropNATPorts, oracle.DropNATFamily, oracle.DropTTL,
	oracle.DropUnreadable, oracle.DropBadLength, oracle.DropBadFlags, oracle.DropBadChecksum, oracle.DropLoop, oracle.DropFragment,
	oracle.DropICMPQuote, oracle.DropNoBackend, oracle.DropTooBig, oracle.DropNoEgress, oracle.HoldFragment, oracle.DropNoHeadroom,
}
