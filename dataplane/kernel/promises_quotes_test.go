package kernel

import (
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

// answer4 is what a backend sent to the client in the VIP's name.
func answer4(from uint16, changes ...change) []byte {
	return sentByVIP(packet.IP{From: vip4, To: client4, Protocol: packet.TCPIP, DF: true}, from, changes)
}

func answer6(from uint16, changes ...change) []byte {
	return sentByVIP(packet.IP{From: vip6, To: client6, Protocol: packet.TCPIP}, from, changes)
}

func sentByVIP(ip packet.IP, from uint16, changes []change) []byte {
	ip = changed(ip, changes)
	if ip.Protocol == packet.UDPIP {
		return ip.Packet(packet.UDP(from, clientPort, make([]byte, 100)))
	}
	return ip.Packet(packet.TCP(from, clientPort, packet.ACK, nil, make([]byte, 100)))
}

func ofUDP(ip *packet.IP) { ip.Protocol = packet.UDPIP }

func protocol(number uint8) change { return func(ip *packet.IP) { ip.Protocol = number } }

func TestPrivilegedICMPErrorsGoToTheBackendOfTheFlow(t *testing.T) {
	router4, router6 := from("198.51.100.254"), from("2001:db8:7::ffff")
	error4 := func(kind, code uint8, quote []byte) []byte { return frame(ip4(router4), control(kind, code, quote)) }
	error6 := func(kind, code uint8, quote []byte) []byte { return frame(ip6(router6), control6(kind, code, quote)) }
	var promises []promise
	for port, way := range stageWays {
		promises = append(promises,
			promise{says: fmt.Sprintf("fragmentation needed, %s", way), frame: error4(3, 4, answer4(port)), fate: goesTo(port)},
			promise{says: fmt.Sprintf("packet too big, %s", way), frame: error6(2, 0, answer6(port, ofUDP)[:48]), fate: goesTo(port)},
		)
	}
	keep(t, append(promises, []promise{
		{says: "fragmentation needed", frame: error4(3, 4, answer4(ipipTo4)), fate: goesTo(ipipTo4)},
		{says: "packet too big", frame: error6(2, 0, answer6(ipipTo4)), fate: goesTo(ipipTo4)},
		{says: "host unreachable", frame: error4(3, 1, answer4(ipipTo6)), fate: goesTo(ipipTo6)},
		{says: "port unreachable", frame: error4(3, 3, answer4(gueTo4, ofUDP)), fate: goesTo(gueTo4)},
		{says: "address unreachable over IPv6", frame: error6(1, 3, answer6(gueTo6)), fate: goesTo(gueTo6)},
		{says: "time exceeded", frame: error4(11, 0, answer4(l2)), fate: goesTo(l2)},
		{says: "time exceeded over IPv6", frame: error6(3, 0, answer6(l2)), fate: goesTo(l2)},
		{says: "parameter problem", frame: error4(12, 0, answer4(elsewhere)), fate: goesTo(elsewhere)},
		{says: "parameter problem over IPv6", frame: error6(4, 1, answer6(elsewhere)), fate: goesTo(elsewhere)},
		{says: "an error to a backend in a VLAN", frame: error6(2, 0, answer6(doubleTagged, ofUDP)), fate: goesTo(doubleTagged)},
		{says: "an error in a VLAN", frame: frame(ip4(router4), control(3, 4, answer4(ipipTo4)), vlan7), fate: goesTo(ipipTo4)},
		{says: "an error with options", frame: frame(ip4(router4, options(8)), control(3, 4, answer4(ipipTo4))), fate: goesTo(ipipTo4)},
		{says: "an error behind an extension header", frame: frame(ip6(router6, chained(destOptions)), control6(2, 0, answer6(ipipTo4))), fate: goesTo(ipipTo4)},
		{says: "a quote of an IP header and 8 bytes, all that RFC 792 promises", frame: error4(3, 4, answer4(ipipTo4)[:28]), fate: goesTo(ipipTo4)},
		{says: "a quote that ends behind the ports", frame: error4(3, 4, answer4(ipipTo4)[:24]), fate: goesTo(ipipTo4)},
		{says: "a quote that ends behind the ports over IPv6", frame: error6(2, 0, answer6(ipipTo4)[:44]), fate: goesTo(ipipTo4)},
		{says: "a quote with options", frame: error4(3, 4, answer4(ipipTo4, options(40))), fate: goesTo(ipipTo4)},
		{says: "a quote with extension headers", frame: error6(2, 0, answer6(ipipTo4, chained(hopHeader, destOptions))), fate: goesTo(ipipTo4)},
		{says: "a quote of a first fragment", frame: error4(11, 1, answer4(ipipTo4, part(0, true))), fate: goesTo(ipipTo4)},
		{says: "a quote of a first fragment over IPv6", frame: error6(3, 1, answer6(ipipTo4, part(0, true))), fate: goesTo(ipipTo4)},
		{says: "the client itself is where an error comes from, too", frame: frame(ip4(), control(3, 3, answer4(ipipTo4, ofUDP))), fate: goesTo(ipipTo4)},
		{says: "no backend for the flow", frame: error4(3, 4, answer4(nobody)), fate: dropped("DROP_NO_BACKEND")},

		{says: "a quote that ends within the ports", frame: error4(3, 4, answer4(ipipTo4)[:23]), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote that ends within the ports over IPv6", frame: error6(2, 0, answer6(ipipTo4)[:43]), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote that ends within its IP header", frame: error4(3, 4, answer4(ipipTo4)[:19]), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote that ends within its options", frame: error4(3, 4, answer4(ipipTo4, options(40))[:56]), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote that ends within an extension header", frame: error6(2, 0, answer6(ipipTo4, chained(destOptions))[:46]), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "no quote", frame: error4(3, 4, nil), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote that goes on behind the packet", frame: put(error6(2, 0, answer6(ipipTo4)), 5, 8+40+3), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of nothing that is IP", frame: put(error4(3, 4, answer4(ipipTo4)), 20+8, 0x75), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of the other family", frame: error4(3, 4, answer6(ipipTo4)), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of the other family over IPv6", frame: error6(2, 0, answer4(ipipTo4)), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of a packet that the VIP did not send", frame: error4(3, 4, answer4(ipipTo4, from("192.0.2.99"))), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of a packet to the VIP", frame: error4(3, 4, ip4(protocol(packet.TCPIP)).Packet(syn(ipipTo4).bytes)), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of a later fragment has no ports", frame: error4(3, 4, answer4(ipipTo4, part(9, false))), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of a later IPv6 fragment", frame: error6(2, 0, answer6(ipipTo4, part(9, false))), fate: dropped("DROP_ICMP_QUOTE")},
		{says: "a quote of another protocol is the host's", frame: error4(3, 2, answer4(ipipTo4, protocol(packet.ICMP))), fate: passes("PASS_ICMP")},
		{says: "a quote of another protocol over IPv6", frame: error6(1, 4, answer6(ipipTo4, protocol(packet.ICMPv6))), fate: passes("PASS_ICMP")},
		{says: "a quote of another port of the VIP's address is the host's", frame: error4(3, 4, answer4(noVIP)), fate: passes("PASS_NOT_VIP")},
		{says: "so is one of another protocol's port", frame: error4(3, 4, answer4(nowhere, ofUDP)), fate: passes("PASS_NOT_VIP")},
		{says: "a length beyond the frame", frame: put(error4(3, 4, answer4(ipipTo4)), 2, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a payload length beyond the frame", frame: put(error6(2, 0, answer6(ipipTo4)), 4, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a length that ends within the message", frame: put(error4(3, 4, answer4(ipipTo4)), 3, 27), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a source quench, which RFC 6633 ended, is the host's", frame: error4(4, 0, answer4(ipipTo4)), fate: passes("PASS_ICMP")},
		{says: "an error in fragments is the host's", frame: frame(ip4(router4, part(0, true)), control(3, 4, answer4(ipipTo4))), fate: passes("PASS_ICMP")},
		{says: "an error that does not fit is answered by none", frame: frame(ip6(router6), control6(2, 0, append(answer6(ipipTo6), make([]byte, 1300)...))), fate: dropped("DROP_TOO_BIG")},
	}...))
}
