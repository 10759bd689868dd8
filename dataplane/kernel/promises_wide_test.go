package kernel

import (
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedWideVIPsTakeWhatNobodyMoreSpecificHas(t *testing.T) {
	tcp4 := func(addr string, port uint16) []byte { return frame(ip4(to(addr)), syn(port)) }
	udp6 := func(addr string, port uint16) []byte { return frame(ip6(to(addr)), udp(port, 64)) }
	keep(t, []promise{
		// The edges.
		{says: "the first port of a range", frame: tcp4("192.0.2.130", 8000), fate: goesTo(wideOuter)},
		{says: "a port within it", frame: tcp4("192.0.2.130", 8511), fate: goesTo(wideOuter)},
		{says: "its last port", frame: tcp4("192.0.2.130", 8999), fate: goesTo(wideOuter)},
		{says: "the port before it", frame: tcp4("192.0.2.130", 7999), fate: passes("PASS_NOT_VIP")},
		{says: "the port behind it", frame: tcp4("192.0.2.130", 9000), fate: passes("PASS_NOT_VIP")},
		{says: "the first address of a prefix", frame: tcp4("192.0.2.128", 8000), fate: goesTo(wideOuter)},
		{says: "its last address", frame: tcp4("192.0.2.191", 8000), fate: goesTo(wideOuter)},
		{says: "the address before it", frame: tcp4("192.0.2.127", 8000), fate: passes("PASS_NOT_VIP")},
		{says: "the address behind it", frame: tcp4("192.0.2.192", 8000), fate: passes("PASS_NOT_VIP")},
		{says: "an IPv6 prefix", frame: udp6("2001:db8:10:0:1::", 53), fate: goesTo(wideOuter)},
		{says: "its last address, and the last port of all", frame: udp6("2001:db8:10:0:1:ffff:ffff:ffff", 65535), fate: goesTo(wideOuter)},
		{says: "the address behind it over IPv6", frame: udp6("2001:db8:10:0:2::", 53), fate: passes("PASS_NOT_VIP")},
		{says: "port 0 is one of any port", frame: udp6("2001:db8:10:0:1::", 0), fate: goesTo(wideOuter)},
		{says: "and none of a range", frame: tcp4("192.0.2.130", 0), fate: passes("PASS_NOT_VIP")},
		{says: "a range of UDP", frame: frame(ip4(to("192.0.2.130")), udp(8080, 64)), fate: goesTo(wideOuter)},

		// The most specific one.
		{says: "one address within a prefix that another service has", frame: tcp4("192.0.2.134", 8080), fate: goesTo(wideInner)},
		{says: "with ports that the prefix around it has not got", frame: tcp4("192.0.2.134", 22), fate: goesTo(wideInner)},
		{says: "its datagrams are those of the prefix around it", frame: frame(ip4(to("192.0.2.134")), udp(8080, 64)), fate: goesTo(wideOuter)},
		{says: "one port of a shorter prefix within a range", frame: tcp4("192.0.2.150", 8080), fate: goesTo(wideInner)},
		{says: "its other ports are those of the prefix around it", frame: tcp4("192.0.2.150", 8081), fate: goesTo(wideOuter)},
		{says: "a range within any port", frame: udp6("2001:db8:10:0:1:2::9", 8999), fate: goesTo(wideInner)},
		{says: "beside which any port is the outer one's", frame: udp6("2001:db8:10:0:1:2::9", 9000), fate: goesTo(wideOuter)},
		{says: "one address and port within a range", frame: tcp4("192.0.2.136", 8500), fate: goesTo(wideExact)},
		{says: "and over IPv6 within two of them", frame: udp6("2001:db8:10:0:1:2::5", 8500), fate: goesTo(wideExact)},
		{says: "its neighbour is the range's", frame: tcp4("192.0.2.136", 8501), fate: goesTo(wideOuter)},

		// All else is as for any VIP.
		{says: "a segment in a VLAN with options", frame: frame(ip4(to("192.0.2.130"), options(8)), data(8000), vlan7), fate: goesTo(wideOuter)},
		{says: "a datagram behind extension headers", frame: frame(ip6(to("2001:db8:10:0:1::7"), chained(hopHeader, destOptions)), udp(53, 64)), fate: goesTo(wideOuter)},
		{says: "a length that lies", frame: put(tcp4("192.0.2.130", 8000), 2, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "impossible flags", frame: frame(ip4(to("192.0.2.130")), tcpTo(8000, packet.SYN|packet.FIN, 0)), fate: dropped("DROP_BAD_FLAGS")},
		{says: "headers that cannot be read", frame: cut(tcp4("192.0.2.130", 8000), 30), fate: dropped("DROP_UNREADABLE")},
		{says: "and to the address behind the prefix", frame: cut(tcp4("192.0.2.192", 8000), 30), fate: passes("PASS_UNREADABLE")},
		{says: "a packet that does not fit is refused in the name of the address that it was for", frame: frame(ip4(to("192.0.2.171"), df), udp(8000, 1472)), fate: replies("REPLY_TOO_BIG", tooBig(backendMTU-20))},
		{says: "a ping to any address of a prefix is answered", frame: frame(ip4(to("192.0.2.171")), ping(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "a ping over IPv6", frame: frame(ip6(to("2001:db8:10:0:1::77")), ping6(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "a ping to the address behind the prefix", frame: frame(ip4(to("192.0.2.192")), ping(56)), fate: passes("PASS_NOT_VIP")},
		{
			says:  "an ICMP error goes to the backend of its flow",
			frame: frame(ip4(to("192.0.2.130")), control(3, 4, answer4(8000, from("192.0.2.130")))), fate: goesTo(wideOuter),
		},
		{
			says:  "one about a port that another service has, to that one's",
			frame: frame(ip6(to("2001:db8:10:0:1:2::9")), control6(2, 0, answer6(8080, from("2001:db8:10:0:1:2::9"), ofUDP))), fate: goesTo(wideInner),
		},
		{
			says:  "one about a port of the host's own is the host's",
			frame: frame(ip4(to("192.0.2.130")), control(3, 4, answer4(22, from("192.0.2.130")))), fate: passes("PASS_NOT_VIP"),
		},
	})
}

func TestPrivilegedFragmentsToWideVIPsFollowTheirFirst(t *testing.T) {
	toWide, toWide6 := to("192.0.2.130"), to("2001:db8:10:0:1:2::9")
	rest := segment{packet.UDPIP, make([]byte, 400)}
	first := frame(ip4(toWide, part(0, true)), udp(8080, 1000))
	first6 := frame(ip6(toWide6, part(0, true)), udp(8080, 1000))
	last, last6 := frame(ip4(toWide, part(126, false)), rest), frame(ip6(toWide6, part(126, false)), rest)
	own := frame(ip4(toWide, part(0, true)), udp(22, 1000))
	keep(t, []promise{
		{says: "the first fragment takes its flow's way", frame: first, fate: goesTo(wideOuter)},
		{says: "the last follows", after: [][]byte{first}, frame: last, fate: goesTo(wideOuter)},
		{says: "over IPv6 it takes the way of the most specific VIP", frame: first6, fate: goesTo(wideInner)},
		{says: "and so does the last", after: [][]byte{first6}, frame: last6, fate: goesTo(wideInner)},
		{says: "one before its first is dropped", frame: last, fate: dropped("DROP_FRAGMENT")},
		{says: "one of a packet to another address of the prefix", after: [][]byte{first}, frame: frame(ip4(to("192.0.2.131"), part(126, false)), rest), fate: dropped("DROP_FRAGMENT")},
		{says: "the first to a port of the host's own is the host's", frame: own, fate: passes("PASS_NOT_VIP")},
		{says: "and so is the last", after: [][]byte{own}, frame: last, fate: passes("PASS_NOT_VIP")},
		{says: "the address behind the prefix is somebody else's", frame: frame(ip4(to("192.0.2.192"), part(126, false)), rest), fate: passes("PASS_NOT_VIP")},
	})
}
