package kernel

import (
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedFragmentsFollowTheirFirstOrAreDroppedByName(t *testing.T) {
	first4 := frame(ip4(part(0, true)), udp(ipipTo4, 1000))
	first6 := frame(ip6(part(0, true)), udp(ipipTo4, 1000))
	tail := func(protocol uint8) segment { return segment{protocol, make([]byte, 400)} }
	next4, last4 := frame(ip4(part(126, true)), tail(packet.UDPIP)), frame(ip4(part(200, false)), tail(packet.UDPIP))
	next6, last6 := frame(ip6(part(126, true)), tail(packet.UDPIP)), frame(ip6(part(200, false)), tail(packet.UDPIP))
	var promises []promise
	for port, way := range stageWays {
		promises = append(promises,
			promise{says: fmt.Sprintf("the last follows, %s", way), after: [][]byte{frame(ip4(part(0, true)), udp(port, 1000))}, frame: last4, fate: goesTo(port)},
			promise{says: fmt.Sprintf("the last follows over IPv6, %s", way), after: [][]byte{frame(ip6(part(0, true)), udp(port, 1000))}, frame: last6, fate: goesTo(port)},
		)
	}
	keep(t, append(promises, []promise{
		{says: "the first fragment takes its flow's way", frame: first4, fate: goesTo(ipipTo4)},
		{says: "so it does over IPv6", frame: first6, fate: goesTo(ipipTo4)},
		{says: "so does one of TCP", frame: frame(ip4(part(0, true)), data(gueTo4)), fate: goesTo(gueTo4)},
		{says: "a UDP length beyond the first fragment is true of the datagram", frame: put(first4, 20+4, 0x20), fate: goesTo(ipipTo4)},
		{says: "a fragment in the middle follows", after: [][]byte{first4}, frame: next4, fate: goesTo(ipipTo4)},
		{says: "so does the last", after: [][]byte{first4}, frame: last4, fate: goesTo(ipipTo4)},
		{says: "a fragment in the middle follows over IPv6", after: [][]byte{first6}, frame: next6, fate: goesTo(ipipTo4)},
		{says: "so does the last over IPv6", after: [][]byte{first6}, frame: last6, fate: goesTo(ipipTo4)},
		{says: "fragments follow by l2", after: [][]byte{frame(ip4(part(0, true)), udp(l2, 1000))}, frame: last4, fate: goesTo(l2)},
		{says: "fragments follow in a tunnel of GUE", after: [][]byte{frame(ip6(part(0, true)), udp(gueTo6, 1000))}, frame: last6, fate: goesTo(gueTo6)},
		{says: "fragments of TCP follow", after: [][]byte{frame(ip4(part(0, true)), data(ipipTo6))}, frame: frame(ip4(part(126, false)), tail(packet.TCPIP)), fate: goesTo(ipipTo6)},
		{says: "a fragment with options follows", after: [][]byte{first4}, frame: frame(ip4(part(200, false), options(8)), tail(packet.UDPIP)), fate: goesTo(ipipTo4)},
		{says: "a fragment behind a hop-by-hop header follows", after: [][]byte{first6}, frame: frame(ip6(chained(hopHeader), part(200, false)), tail(packet.UDPIP)), fate: goesTo(ipipTo4)},
		{says: "a fragment in a VLAN follows", after: [][]byte{first4}, frame: frame(ip4(part(200, false)), tail(packet.UDPIP), vlan7), fate: goesTo(ipipTo4)},
		{says: "a fragment shorter than a header follows", after: [][]byte{first4}, frame: frame(ip4(part(200, false)), segment{packet.UDPIP, make([]byte, 3)}), fate: goesTo(ipipTo4)},

		{says: "a fragment before its first is dropped", frame: last4, fate: dropped("DROP_FRAGMENT")},
		{says: "so it is over IPv6", frame: next6, fate: dropped("DROP_FRAGMENT")},
		{says: "one of another packet", after: [][]byte{first4}, frame: frame(ip4(partOf(8, 200, false)), tail(packet.UDPIP)), fate: dropped("DROP_FRAGMENT")},
		{says: "one of another packet over IPv6", after: [][]byte{first6}, frame: frame(ip6(partOf(8, 200, false)), tail(packet.UDPIP)), fate: dropped("DROP_FRAGMENT")},
		{says: "one of another client's packet", after: [][]byte{first4}, frame: frame(ip4(part(200, false), from("198.51.100.8")), tail(packet.UDPIP)), fate: dropped("DROP_FRAGMENT")},
		{says: "one of another protocol's packet", after: [][]byte{first4}, frame: frame(ip4(part(200, false)), tail(packet.TCPIP)), fate: dropped("DROP_FRAGMENT")},
		{says: "one of the other family's packet", after: [][]byte{first4}, frame: last6, fate: dropped("DROP_FRAGMENT")},
		{says: "one whose first found no backend", after: [][]byte{frame(ip4(part(0, true)), udp(nobody, 1000))}, frame: last4, fate: dropped("DROP_FRAGMENT")},
		{says: "one whose first was dropped", after: [][]byte{frame(ip4(part(0, true)), tcpTo(ipipTo4, 0, 1000))}, frame: frame(ip4(part(126, false)), tail(packet.TCPIP)), fate: dropped("DROP_FRAGMENT")},
		{says: "one whose first was the host's own follows it there", after: [][]byte{frame(ip4(part(0, true)), udp(noVIP, 1000))}, frame: last4, fate: passes("PASS_NOT_VIP")},
		{says: "so does one over IPv6", after: [][]byte{frame(ip6(part(0, true)), udp(noVIP, 1000))}, frame: last6, fate: passes("PASS_NOT_VIP")},
		{says: "a length that lies", after: [][]byte{first4}, frame: put(last4, 2, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a length that lies over IPv6", after: [][]byte{first6}, frame: put(last6, 4, 0x40), fate: dropped("DROP_BAD_LENGTH")},

		{says: "a length that lies, before its first", frame: put(last4, 2, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "the host gets its own whatever its length says", after: [][]byte{frame(ip4(part(0, true)), udp(noVIP, 1000))}, frame: put(last4, 2, 0x40), fate: passes("PASS_NOT_VIP")},
		{says: "so it does over IPv6", after: [][]byte{frame(ip6(part(0, true)), udp(noVIP, 1000))}, frame: put(last6, 4, 0x40), fate: passes("PASS_NOT_VIP")},

		{says: "a first fragment without all of its TCP header", frame: cut(frame(ip4(part(0, true)), data(ipipTo4)), 39), fate: dropped("DROP_UNREADABLE")},
		{says: "a first fragment without all of its UDP header", frame: cut(first6, 55), fate: dropped("DROP_UNREADABLE")},
		{says: "somebody else's", frame: cut(frame(ip4(elsewhere4, part(0, true)), data(ipipTo4)), 39), fate: passes("PASS_UNREADABLE")},
		{says: "a first fragment is judged like a packet", frame: frame(ip4(part(0, true)), tcpTo(ipipTo4, 0, 64)), fate: dropped("DROP_BAD_FLAGS")},
		{says: "a fragment of ICMP is the host's", frame: frame(ip4(part(0, true)), ping(64)), fate: passes("PASS_ICMP")},
		{says: "a later fragment of ICMP is, too", frame: frame(ip4(part(9, false)), tail(packet.ICMP)), fate: passes("PASS_ICMP")},
		{says: "one of ICMPv6 is, too", frame: frame(ip6(part(9, false)), tail(packet.ICMPv6)), fate: passes("PASS_ICMP")},
		{says: "fragments of other protocols are the host's", frame: frame(ip4(part(9, false)), tail(packet.GRE)), fate: passes("PASS_NOT_TCP_UDP")},
	}...))
}

// RFC 8200, section 4.5: the next header that counts is the first fragment's.
func TestPrivilegedALaterIPv6FragmentMayNameAnotherNextHeader(t *testing.T) {
	var promises []promise
	first := frame(ip6(part(0, true)), udp(l2, 1000))
	for _, next := range []uint8{packet.TCPIP, packet.Options, packet.Routing, 0, packet.AH} {
		promises = append(promises, promise{
			says: fmt.Sprintf("number %d", next), after: [][]byte{first},
			frame: frame(ip6(part(126, false)), segment{next, make([]byte, 400)}), fate: goesTo(l2),
		})
	}
	keep(t, promises)
}

// They would be put together late, or after the next packet, if they took another
// path between switches than the first.
func TestPrivilegedFragmentsOfAPacketHaveOneEntropy(t *testing.T) {
	stage := newStage(t)
	rest := segment{packet.UDPIP, make([]byte, 400)}
	for port, way := range stageWays {
		if !way.forward.Tunnels() || way.forward == dataplane.IPIP && way.addr.Is4() || way.vlan != [2]uint16{} {
			continue // no entropy, or at another place
		}
		for _, parts := range [][2][]byte{
			{frame(ip4(part(0, true)), udp(port, 1000)), frame(ip4(part(126, false)), rest)},
			{frame(ip6(part(0, true)), udp(port, 1000)), frame(ip6(part(126, false)), rest)},
		} {
			first, last := entropyOf(stage.send(parts[0]).frame), entropyOf(stage.send(parts[1]).frame)
			if first != last {
				t.Errorf("%s: the first has %x, the last %x", way, first, last)
			}
		}
	}
}

func from(addr string) change { return func(ip *packet.IP) { ip.From = parseAddr(addr) } }
