package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedPacketsThatDoNotFitTellTheClientWhatDoes(t *testing.T) {
	var promises []promise
	for port, way := range stageWays {
		mtu := backendMTU - way.overhead()
		promises = append(promises,
			promise{says: fmt.Sprintf("IPv4 with DF, %s", way), frame: frame(ip4(df), udp(port, mtu-28+1)), fate: replies("REPLY_TOO_BIG", tooBig(mtu))},
			promise{says: fmt.Sprintf("IPv4 without DF, %s", way), frame: frame(ip4(), udp(port, mtu-28+1)), fate: replies("REPLY_TOO_BIG_NO_DF", tooBig(mtu))},
			promise{says: fmt.Sprintf("IPv6, %s", way), frame: frame(ip6(), udp(port, mtu-48+1)), fate: replies("REPLY_TOO_BIG", tooBig(mtu))},
		)
	}
	const mtu4, mtu6 = backendMTU - 20, backendMTU - 40
	big4, big6 := tcpTo(ipipTo4, packet.ACK, 1460), tcpTo(ipipTo4, packet.ACK, 1441)
	promises = append(promises,
		promise{says: "options are quoted", frame: frame(ip4(df, options(40)), tcpTo(ipipTo4, packet.ACK, 1420)), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))},
		promise{says: "extension headers are quoted", frame: frame(ip6(chained(hopHeader)), tcpTo(ipipTo6, packet.ACK, 1440)), fate: replies("REPLY_TOO_BIG", tooBig(mtu6))},
		promise{says: "the answer has the packet's tags", frame: frame(ip4(df), big4, vlan7), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))},
		promise{says: "both of them", frame: frame(ip6(), big6, service300, vlan8), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))},
		promise{says: "DSCP is the network's own in the answer", frame: frame(ip4(df, tos(0xb8)), big4), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))},
		promise{says: "so is it over IPv6", frame: frame(ip6(tos(0xff)), big6), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))},
		promise{says: "a SYN without DF", frame: frame(ip4(), tcpTo(ipipTo4, packet.SYN, 1460)), fate: replies("REPLY_TOO_BIG_NO_DF", tooBig(mtu4))},
		promise{says: "padding is no part of the packet", frame: padded(frame(ip4(df), big4), 6), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))},
		promise{says: "the answer's tags are not those of the way", frame: frame(ip6(), tcpTo(doubleTagged, packet.ACK, 1460), vlan7), fate: replies("REPLY_TOO_BIG", tooBig(backendMTU-stageWays[doubleTagged].overhead()))},
		promise{says: "a first fragment is answered", frame: frame(ip4(part(0, true)), big4), fate: replies("REPLY_TOO_BIG_NO_DF", tooBig(mtu4))},
		promise{says: "so is one over IPv6", frame: frame(ip6(part(0, true)), tcpTo(ipipTo6, packet.ACK, 1400)), fate: replies("REPLY_TOO_BIG", tooBig(mtu6))},
		promise{says: "a frame to a group is not", frame: toGroup(frame(ip4(df), big4)), fate: dropped("DROP_TOO_BIG")},
		promise{says: "nor is one over IPv6", frame: toGroup(frame(ip6(), big6)), fate: dropped("DROP_TOO_BIG")},
		promise{
			says: "a later fragment is not, either", after: [][]byte{frame(ip4(part(0, true)), udp(ipipTo4, 64))},
			frame: frame(ip4(part(9, false)), segment{packet.UDPIP, make([]byte, 1480)}), fate: dropped("DROP_TOO_BIG"),
		},
	)
	for _, source := range []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"} {
		promises = append(promises, promise{says: "no host is " + source, frame: frame(ip4(df, from(source)), big4), fate: dropped("DROP_TOO_BIG")})
	}
	for _, source := range []string{"::", "::1", "ff02::1"} {
		promises = append(promises, promise{says: "no host is " + source, frame: frame(ip6(from(source)), big6), fate: dropped("DROP_TOO_BIG")})
	}
	for _, source := range []string{"1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255"} {
		promises = append(promises, promise{says: "a host may be " + source, frame: frame(ip4(df, from(source)), big4), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))})
	}
	for _, source := range []string{"::2", "fe80::1"} {
		promises = append(promises, promise{says: "a host may be " + source, frame: frame(ip6(from(source)), big6), fate: replies("REPLY_TOO_BIG", tooBig(mtu4))})
	}
	keep(t, promises)
}

// The quote is cut to words, and its checksum is summed over what the packet holds.
func TestPrivilegedARefusalQuotesWholeWordsOfPacketsOfAnySize(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var promises []promise
	for size := narrowMTU - 20; size < 1400; size += 1 + random.IntN(7) {
		payload := make([]byte, size)
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		datagram := segment{packet.UDPIP, packet.UDP(clientPort, narrow, payload)}
		in := frame(ip4(df), datagram)
		if random.IntN(2) == 0 {
			in = frame(ip6(), datagram)
		}
		promises = append(promises, promise{says: fmt.Sprintf("%d bytes of payload", size), frame: in, fate: replies("REPLY_TOO_BIG", tooBig(narrowMTU-20))})
	}
	keep(t, promises)
}

// tooBig is the ICMP error that names an MTU.
func tooBig(mtu int) leaves {
	return func(in, _ []byte) []byte {
		ip := in[linkSize(in):]
		ip = ip[:ipLength(ip)]
		answer := packet.IP{From: addrOf(ip[16:20]), To: addrOf(ip[12:16]), Protocol: packet.ICMP, TOS: 0xc0, TTL: 64, DF: true}
		message := packet.Message(3, 4, uint32(mtu), ip[:min(len(ip), 548)&^3])
		if ip[0]>>4 == 6 {
			answer = packet.IP{From: addrOf(ip[24:40]), To: addrOf(ip[8:24]), Protocol: packet.ICMPv6, TTL: 64}
			message = packet.Message(2, 0, uint32(mtu), ip[:min(len(ip), 1232)&^3])
		}
		return append(backTo(in), answer.Packet(message)...)
	}
}
