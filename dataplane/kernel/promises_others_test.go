package kernel

import (
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

var (
	hopHeader    = packet.OptionsHeader(0, 0)
	destOptions  = packet.OptionsHeader(packet.Options, 0)
	atomicHeader = packet.FragmentHeader(7, 0, false)
	six          = []packet.Extension{hopHeader, packet.RoutingHeader(0), destOptions, packet.AHHeader(3), atomicHeader, destOptions}
)

func TestPrivilegedTrafficOfOthersPassesUntouched(t *testing.T) {
	keep(t, []promise{
		// Not IP.
		{says: "ARP is none of our business", frame: packet.Ethernet{Type: packet.TypeARP}.Frame(make([]byte, 46)), fate: passes("PASS_NOT_IP")},
		{says: "LLDP", frame: packet.Ethernet{Type: packet.TypeLLDP}.Frame(make([]byte, 46)), fate: passes("PASS_NOT_IP")},
		{says: "a length where Ethernet II has a type", frame: packet.Ethernet{Type: 100}.Frame(make([]byte, 100)), fate: passes("PASS_NOT_IP")},
		{says: "ARP in a VLAN", frame: packet.Ethernet{Type: packet.TypeARP, Tags: []packet.Tag{vlan7}}.Frame(make([]byte, 46)), fate: passes("PASS_NOT_IP")},
		{says: "a VLAN with nothing in it", frame: packet.Ethernet{Type: packet.TypeTag}.Frame(make([]byte, 46)), fate: passes("PASS_NOT_IP")},
		{says: "three tags, whatever is behind them", frame: frame(ip4(), syn(ipipTo4), service300, vlan7, vlan8), fate: passes("PASS_NOT_IP")},
		{says: "a tag of a type that is neither 802.1Q nor 802.1ad", frame: frame(ip4(), syn(ipipTo4), packet.Tag{Type: 0x9100}), fate: passes("PASS_NOT_IP")},

		// Not TCP or UDP, whatever the address.
		{says: "OSPF", frame: frame(ip4(), other(packet.OSPF)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "GRE to a VIP's address", frame: frame(ip4(), other(packet.GRE)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "ESP to a VIP's address", frame: frame(ip6(), other(packet.ESP)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "an IPv6 packet with nothing in it", frame: frame(ip6(), other(packet.NoNext)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "nothing behind an extension header", frame: frame(ip6(chained(destOptions)), other(packet.NoNext)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "ESP behind an extension header", frame: frame(ip6(chained(hopHeader)), other(packet.ESP)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "a tunnel to a VIP's address is not looked into", frame: frame(ip4(), segment{packet.IPIP, ip4().Packet(syn(ipipTo4).bytes)}), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "AH is followed in IPv6 alone", frame: frame(ip4(), other(packet.AH)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "ICMP in IPv6 is no ICMP", frame: frame(ip6(), other(packet.ICMP)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "ICMPv6 in IPv4 is no ICMP", frame: frame(ip4(), other(packet.ICMPv6)), fate: passes("PASS_NOT_TCP_UDP")},
		{says: "OSPF in an IPv4 packet that ends within its options", frame: cut(frame(ip4(options(40)), other(packet.OSPF)), 40), fate: passes("PASS_NOT_TCP_UDP")},

		// Not a VIP.
		{says: "another port of a VIP's address is the host's own", frame: frame(ip4(), syn(noVIP)), fate: passes("PASS_NOT_VIP")},
		{says: "so it is over IPv6 and UDP", frame: frame(ip6(), udp(noVIP, 10)), fate: passes("PASS_NOT_VIP")},
		{says: "a VIP's port of another address", frame: frame(ip4(elsewhere4), syn(ipipTo4)), fate: passes("PASS_NOT_VIP")},
		{says: "a VIP's port of another IPv6 address", frame: frame(ip6(elsewhere6), syn(ipipTo4)), fate: passes("PASS_NOT_VIP")},
		{says: "the wrong protocol for a VIP", frame: frame(ip4(), udp(nowhere, 10)), fate: passes("PASS_NOT_VIP")},
		{says: "a packet from a VIP", frame: frame(ip4(elsewhere4, fromVIP), syn(ipipTo4)), fate: passes("PASS_NOT_VIP")},
		{says: "an IPv6 packet to ::ffff:192.0.2.10 is none for the IPv4 VIP", frame: frame(ip6(toMapped), syn(ipipTo4)), fate: passes("PASS_NOT_VIP")},
		{says: "a packet of others in a VLAN keeps its tags", frame: frame(ip4(elsewhere4), syn(ipipTo4), service300, vlan7), fate: passes("PASS_NOT_VIP")},
		{says: "another port of a VIP's address in a VLAN", frame: frame(ip4(), syn(noVIP), vlan7), fate: passes("PASS_NOT_VIP")},
		{says: "another port behind extension headers", frame: frame(ip6(chained(hopHeader, packet.RoutingHeader(0))), syn(noVIP)), fate: passes("PASS_NOT_VIP")},
		{says: "another port with DF, which alone makes no fragment", frame: frame(ip4(df), syn(noVIP)), fate: passes("PASS_NOT_VIP")},
		{says: "a packet of others with options keeps them", frame: frame(ip4(elsewhere4, options(12)), syn(ipipTo4)), fate: passes("PASS_NOT_VIP")},
		{says: "a packet of others with extension headers keeps them", frame: frame(ip6(elsewhere6, chained(hopHeader, destOptions)), syn(ipipTo4)), fate: passes("PASS_NOT_VIP")},
		{says: "an echo request for somebody else is not answered", frame: frame(ip4(elsewhere4), ping(56)), fate: passes("PASS_NOT_VIP")},
		{says: "nor one over IPv6", frame: frame(ip6(elsewhere6), ping6(56)), fate: passes("PASS_NOT_VIP")},
		{says: "neighbour discovery for somebody else", frame: frame(ip6(elsewhere6), control6(135, 0, nil)), fate: passes("PASS_NOT_VIP")},
		{says: "an ICMP error for somebody else", frame: frame(ip4(elsewhere4), control(3, 4, ip4().Packet(syn(ipipTo4).bytes))), fate: passes("PASS_NOT_VIP")},
		{says: "somebody else's first fragment", frame: frame(ip4(elsewhere4, part(0, true)), udp(ipipTo4, 64)), fate: passes("PASS_NOT_VIP")},
		{says: "somebody else's later fragment", frame: frame(ip4(elsewhere4, part(9, false)), udp(ipipTo4, 64)), fate: passes("PASS_NOT_VIP")},
		{says: "somebody else's IPv6 fragment", frame: frame(ip6(elsewhere6, part(9, true)), udp(ipipTo4, 64)), fate: passes("PASS_NOT_VIP")},
		{says: "the first fragment to another port of a VIP's address", frame: frame(ip4(part(0, true)), udp(noVIP, 64)), fate: passes("PASS_NOT_VIP")},
		{says: "lengths of others that lie are not ours to judge", frame: put(frame(ip4(elsewhere4), syn(ipipTo4)), 2, 0xff, 0xff), fate: passes("PASS_NOT_VIP")},
		{says: "nor are those to a port of the host's own", frame: put(frame(ip4(), udp(noVIP, 10)), 2, 0, 0), fate: passes("PASS_NOT_VIP")},
		{says: "flags of others that are impossible are not ours to judge", frame: frame(ip4(), tcpTo(noVIP, packet.SYN|packet.FIN, 0)), fate: passes("PASS_NOT_VIP")},
		{says: "a broadcast", frame: frame(ip4(to("255.255.255.255")), udp(67, 100)), fate: passes("PASS_NOT_VIP")},
		{says: "a multicast packet", frame: frame(ip6(to("ff02::fb")), udp(5353, 100)), fate: passes("PASS_NOT_VIP")},
	})
}

func TestPrivilegedHeadersThatCannotBeReadDropForVIPsAlone(t *testing.T) {
	seven := append(six[:len(six):len(six)], destOptions)
	endless := frame(ip6(chained(packet.OptionsHeader(packet.Options, 31))), syn(ipipTo4))
	keep(t, []promise{
		{says: "a frame that ends within its tag", frame: frame(ip4(), syn(ipipTo4), vlan7)[:16], fate: passes("PASS_UNREADABLE")},
		{says: "a frame that ends within its second tag", frame: frame(ip4(), syn(ipipTo4), vlan7, vlan8)[:20], fate: passes("PASS_UNREADABLE")},
		{says: "nothing behind the Ethernet header", frame: cut(frame(ip4(), syn(ipipTo4)), 0), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv4 header cut short tells no address", frame: cut(frame(ip4(), syn(ipipTo4)), 19), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv6 header cut short tells no address", frame: cut(frame(ip6(), syn(ipipTo4)), 39), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv4 header that claims version 5 is not trusted", frame: put(frame(ip4(), syn(ipipTo4)), 0, 0x55), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv4 header that claims version 6", frame: put(frame(ip4(), syn(ipipTo4)), 0, 0x65), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv4 header that claims 16 bytes", frame: put(frame(ip4(), syn(ipipTo4)), 0, 0x44), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv4 header that claims no bytes", frame: put(frame(ip4(), syn(ipipTo4)), 0, 0x40), fate: passes("PASS_UNREADABLE")},
		{says: "an IPv6 header that claims version 4", frame: put(frame(ip6(), syn(ipipTo4)), 0, 0x40), fate: passes("PASS_UNREADABLE")},

		{says: "an IPv4 packet to a VIP that ends within its options", frame: cut(frame(ip4(options(40)), syn(ipipTo4)), 59), fate: dropped("DROP_UNREADABLE")},
		{says: "one to somebody else", frame: cut(frame(ip4(elsewhere4, options(40)), syn(ipipTo4)), 59), fate: passes("PASS_UNREADABLE")},
		{says: "no TCP header behind an IPv4 header to a VIP", frame: cut(frame(ip4(), syn(ipipTo4)), 20), fate: dropped("DROP_UNREADABLE")},
		{says: "a TCP header one byte short", frame: cut(frame(ip4(), syn(ipipTo4)), 39), fate: dropped("DROP_UNREADABLE")},
		{says: "a TCP header one byte short over IPv6", frame: cut(frame(ip6(), syn(ipipTo4)), 59), fate: dropped("DROP_UNREADABLE")},
		{says: "a TCP header one byte short to somebody else", frame: cut(frame(ip4(elsewhere4), syn(ipipTo4)), 39), fate: passes("PASS_UNREADABLE")},
		{says: "a UDP header one byte short", frame: cut(frame(ip4(), udp(ipipTo4, 20)), 27), fate: dropped("DROP_UNREADABLE")},
		{says: "a UDP header one byte short over IPv6", frame: cut(frame(ip6(), udp(ipipTo4, 20)), 47), fate: dropped("DROP_UNREADABLE")},
		{says: "a port that is no VIP's, in a header one byte short, is a VIP address's all the same", frame: cut(frame(ip4(), udp(noVIP, 20)), 27), fate: dropped("DROP_UNREADABLE")},

		{says: "six extension headers are followed", frame: frame(ip6(chained(six...)), syn(ipipTo4)), fate: goesTo(ipipTo4)},
		{says: "seven are not", frame: frame(ip6(chained(seven...)), syn(ipipTo4)), fate: dropped("DROP_UNREADABLE")},
		{says: "an extension header that says that it goes on behind the frame", frame: put(frame(ip6(chained(destOptions)), syn(ipipTo4)), 41, 40), fate: dropped("DROP_UNREADABLE")},
		{says: "nor for somebody else", frame: frame(ip6(elsewhere6, chained(seven...)), syn(ipipTo4)), fate: passes("PASS_UNREADABLE")},
		{says: "a packet that ends within an extension header", frame: cut(frame(ip6(chained(destOptions)), syn(ipipTo4)), 47), fate: dropped("DROP_UNREADABLE")},
		{says: "a packet that ends before an extension header", frame: cut(frame(ip6(chained(destOptions)), syn(ipipTo4)), 40), fate: dropped("DROP_UNREADABLE")},
		{says: "a packet that ends within a long extension header", frame: cut(endless, 200), fate: dropped("DROP_UNREADABLE")},
		{says: "one to somebody else passes", frame: cut(frame(ip6(elsewhere6, chained(destOptions)), syn(ipipTo4)), 47), fate: passes("PASS_UNREADABLE")},
		{says: "a packet that ends within its fragment header", frame: cut(frame(ip6(chained(atomicHeader)), syn(ipipTo4)), 47), fate: dropped("DROP_UNREADABLE")},
	})
}
