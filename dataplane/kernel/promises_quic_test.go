package kernel

import (
	"testing"

	"github.com/pointsman/pointsman/test/packet"
)

// The second and third byte of a connection ID name its backend; "b2" is that of
// quicNamed.
func TestPrivilegedAQUICPacketGoesToTheBackendThatItsConnectionIDNames(t *testing.T) {
	fromElsewhere := segment{packet.UDPIP, packet.UDP(12345, 443, packet.QUICShort([]byte("_b2_____"), nil))}
	first := frame(ip4(part(0, true)), short("_b2_____ of a long datagram"))
	keep(t, []promise{
		{says: "a short header that names a backend", frame: frame(ip4(), short("_b2_____")), fate: goesTo(quicNamed)},
		{says: "over IPv6", frame: frame(ip6(), short("_b2_____")), fate: goesTo(quicNamed)},
		{says: "from another address and port", frame: frame(ip4(from("203.0.113.99")), fromElsewhere), fate: goesTo(quicNamed)},
		{says: "a long header that names a backend", frame: frame(ip4(), long("_b2_____")), fate: goesTo(quicNamed)},
		{says: "a connection ID that ends with the name", frame: frame(ip4(), long("_b2")), fate: goesTo(quicNamed)},
		{says: "one of 20 bytes", frame: frame(ip6(), long("_b2_________________")), fate: goesTo(quicNamed)},
		{says: "a packet that ends with the name", frame: frame(ip4(), quic([]byte("\x40_b2"))), fate: goesTo(quicNamed)},
		{says: "a packet of full size", frame: frame(ip4(), quic(append([]byte("\x40_b2"), make([]byte, 1200)...))), fate: goesTo(quicNamed)},
		{says: "in a VLAN, with options", frame: frame(ip4(options(12)), short("_b2_____"), vlan7), fate: goesTo(quicNamed)},
		{says: "behind extension headers", frame: frame(ip6(chained(hopHeader, destOptions)), short("_b2_____")), fate: goesTo(quicNamed)},
		{says: "the name of the backend that gets all else", frame: frame(ip4(), short("_a1_____")), fate: goesTo(quicByFlow)},
		{says: "the first fragment of a datagram", frame: first, fate: goesTo(quicNamed)},
		{says: "whose others follow it", after: [][]byte{first}, frame: frame(ip4(part(9, false)), segment{packet.UDPIP, make([]byte, 64)}), fate: goesTo(quicNamed)},
		{says: "a packet that does not fit there", frame: frame(ip4(df), quic(append([]byte("\x40_b2"), make([]byte, 1440)...))), fate: replies("REPLY_TOO_BIG", tooBig(backendMTU-32))},

		{says: "a client's first packet, whose ID is its own invention, goes by flow", frame: frame(ip4(), long("random!!")), fate: goesTo(quicByFlow)},
		{says: "a name that nobody has", frame: frame(ip4(), short("_c3_____")), fate: goesTo(quicByFlow)},
		{says: "a name elsewhere in the ID", frame: frame(ip4(), short("b2______")), fate: goesTo(quicByFlow)},
		{says: "an ID that ends within the name", frame: frame(ip4(), long("_b")), fate: goesTo(quicByFlow)},
		{says: "no ID, behind which the name stands by chance", frame: frame(ip4(), quic(packet.QUICLong(nil, []byte("_b2_____")))), fate: goesTo(quicByFlow)},
		{says: "a packet that ends within the name", frame: frame(ip4(), quic([]byte("\x40_b"))), fate: goesTo(quicByFlow)},
		{says: "a long header that ends before the ID", frame: frame(ip4(), quic([]byte("\xc3\x00\x00\x00\x01"))), fate: goesTo(quicByFlow)},
		{says: "a datagram without a payload", frame: frame(ip4(), quic(nil)), fate: goesTo(quicByFlow)},
		{says: "a name in the padding", frame: put(put(frame(ip4(), quic([]byte("\x40_b2"))), 2, 0, 30), 20+4, 0, 10), fate: goesTo(quicByFlow)},
		{says: "a name behind the end of the datagram", frame: put(frame(ip4(), short("_b2_____")), 20+4, 0, 8+3), fate: goesTo(quicByFlow)},
		{says: "a name in the padding behind a first fragment", frame: put(frame(ip4(part(0, true)), short("_b2_____")), 2, 0, 28), fate: goesTo(quicByFlow)},
		{says: "a first fragment of a datagram without a length", frame: put(frame(ip4(part(0, true)), short("_b2_____")), 20+4, 0, 0), fate: goesTo(quicByFlow)},
		{says: "TCP on the same port knows no IDs", frame: frame(ip4(), segment{packet.TCPIP, packet.TCP(clientPort, 443, packet.ACK, nil, []byte("\x40_b2_____"))}), fate: goesTo(quicByFlow)},
		{says: "other UDP does not either", frame: frame(ip4(), segment{packet.UDPIP, packet.UDP(clientPort, ipipTo4, []byte("\x40_b2_____"))}), fate: goesTo(ipipTo4)},
		{
			says:  "an ICMP error goes by flow, since the ID in its quote is the client's",
			frame: frame(ip4(), control(3, 4, ip4(from(vip4.String()), to(client4.String()), ofUDP).Packet(packet.UDP(443, clientPort, []byte("\x40_b2_____"))))), fate: goesTo(quicByFlow),
		},
	})
}
