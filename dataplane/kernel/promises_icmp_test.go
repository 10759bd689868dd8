package kernel

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedEchoRequestsToAVIPAreAnswered(t *testing.T) {
	damaged := put(frame(ip4(), ping(56)), 20+2, 0xde, 0xad)
	keep(t, []promise{
		{says: "an echo request", frame: frame(ip4(), ping(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "one over IPv6", frame: frame(ip6(), ping6(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "one without a payload", frame: frame(ip4(), ping(0)), fate: replies("REPLY_ECHO", pong)},
		{says: "one of odd size over IPv6", frame: frame(ip6(), ping6(57)), fate: replies("REPLY_ECHO", pong)},
		{says: "one of odd size", frame: frame(ip4(), ping(57)), fate: replies("REPLY_ECHO", pong)},
		{says: "a large one, which backends never see", frame: frame(ip4(), ping(1472)), fate: replies("REPLY_ECHO", pong)},
		{says: "a large one over IPv6", frame: frame(ip6(), ping6(1452)), fate: replies("REPLY_ECHO", pong)},
		{says: "one with DF and DSCP keeps them", frame: frame(ip4(df, tos(0xb8)), ping(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "one with a TTL of one is answered with 64", frame: frame(ip4(ttl(1)), ping(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "one with a TTL of 255", frame: frame(ip6(ttl(255)), ping6(56)), fate: replies("REPLY_ECHO", pong)},
		{says: "one in a VLAN is answered there", frame: frame(ip4(), ping(56), vlan7), fate: replies("REPLY_ECHO", pong)},
		{says: "one in a provider's VLAN", frame: frame(ip6(), ping6(56), service300, vlan8), fate: replies("REPLY_ECHO", pong)},
		{says: "a message that becomes nothing but zeros has the one checksum that is right for it", frame: frame(ip4(), segment{packet.ICMP, packet.Message(8, 0, 0, make([]byte, 56))}), fate: replies("REPLY_ECHO", pong)},
		{says: "zeros over IPv6, whose checksum is over addresses, too", frame: frame(ip6(), segment{packet.ICMPv6, packet.Message(128, 0, 0, make([]byte, 56))}), fate: replies("REPLY_ECHO", pong)},
		{says: "one with a wrong checksum stays as wrong", frame: damaged, fate: replies("REPLY_ECHO", stillWrong)},
		{says: "a length beyond the frame", frame: put(frame(ip4(), ping(56)), 2, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a length without room for the message", frame: put(frame(ip4(), ping(56)), 3, 27), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a payload length beyond the frame", frame: put(frame(ip6(), ping6(56)), 4, 0x40), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a payload length without room for the message", frame: put(frame(ip6(), ping6(56)), 5, 7), fate: dropped("DROP_BAD_LENGTH")},
		{says: "a request in a frame to a group is left to the host", frame: toGroup(frame(ip4(), ping(56))), fate: passes("PASS_ICMP")},
		{says: "so is one over IPv6 in such a frame", frame: toGroup(frame(ip6(), ping6(56))), fate: passes("PASS_ICMP")},
		{says: "so is one from a source that is no host", frame: frame(ip4(from("255.255.255.255")), ping(56)), fate: passes("PASS_ICMP")},
		{says: "or from a group", frame: frame(ip4(from("224.0.0.1")), ping(56)), fate: passes("PASS_ICMP")},
		{says: "or from a group over IPv6", frame: frame(ip6(from("ff02::1")), ping6(56)), fate: passes("PASS_ICMP")},
		{says: "so is a request in fragments", frame: frame(ip4(part(0, true)), ping(56)), fate: passes("PASS_ICMP")},
		{says: "a message without its eight bytes", frame: cut(frame(ip4(), ping(56)), 27), fate: dropped("DROP_UNREADABLE")},
		{says: "one of ICMPv6", frame: cut(frame(ip6(), ping6(56)), 47), fate: dropped("DROP_UNREADABLE")},
		{says: "what is left to the host may have a length that lies: in a frame to a group", frame: toGroup(put(frame(ip4(), ping(56)), 2, 0x40)), fate: passes("PASS_ICMP")},
		{says: "likewise over IPv6", frame: toGroup(put(frame(ip6(), ping6(56)), 4, 0x40)), fate: passes("PASS_ICMP")},
		{says: "from a source that is no host", frame: put(frame(ip4(from("255.255.255.255")), ping(56)), 2, 0x40), fate: passes("PASS_ICMP")},
		{says: "with options", frame: put(frame(ip4(options(4)), ping(56)), 2, 0x40), fate: passes("PASS_ICMP")},
		{says: "of an echo reply", frame: put(frame(ip6(), control6(129, 0, make([]byte, 56))), 4, 0x40), fate: passes("PASS_ICMP")},
		{says: "a request with options is left to the host", frame: frame(ip4(options(4)), ping(56)), fate: passes("PASS_ICMP")},
		{says: "so is one behind an extension header", frame: frame(ip6(chained(destOptions)), ping6(56)), fate: passes("PASS_ICMP")},
		{says: "so is an echo reply", frame: frame(ip4(), control(0, 0, make([]byte, 56))), fate: passes("PASS_ICMP")},
		{says: "so is one over IPv6", frame: frame(ip6(), control6(129, 0, make([]byte, 56))), fate: passes("PASS_ICMP")},
		{says: "so is a request with a code", frame: frame(ip4(), control(8, 1, make([]byte, 56))), fate: passes("PASS_ICMP")},
		{says: "so is a timestamp request", frame: frame(ip4(), control(13, 0, make([]byte, 12))), fate: passes("PASS_ICMP")},
		{says: "so is a redirect", frame: frame(ip4(), control(5, 1, ip4().Packet(syn(ipipTo4).bytes))), fate: passes("PASS_ICMP")},
		{says: "so is a neighbour solicitation", frame: frame(ip6(ttl(255)), control6(135, 0, vip6.AsSlice())), fate: passes("PASS_ICMP")},
		{says: "so is a multicast listener query", frame: frame(ip6(ttl(1)), control6(130, 0, make([]byte, 16))), fate: passes("PASS_ICMP")},
		{says: "type 8 of ICMPv6 is no request", frame: frame(ip6(), control6(8, 0, make([]byte, 56))), fate: passes("PASS_ICMP")},
		{says: "type 128 of ICMP is none either", frame: frame(ip4(), control(128, 0, make([]byte, 56))), fate: passes("PASS_ICMP")},
	})
}

// Sums of all sizes, and the two that are zero: a checksum is mended, not computed,
// and both forms of zero come up.
func TestPrivilegedEchoRepliesHaveARightChecksumForAllSums(t *testing.T) {
	stage, step := newStage(t), 1
	if testing.Short() {
		step = 51
	}
	for _, v6 := range []bool{false, true} {
		for word := 0; word < 1<<16; word += step {
			request := frame(ip4(), segment{packet.ICMP, packet.Message(8, 0, uint32(word), []byte{1, 2})})
			if v6 {
				request = frame(ip6(), segment{packet.ICMPv6, packet.Message(128, 0, uint32(word), []byte{1, 2})})
			}
			got := stage.run(request)
			if want := pong(request, nil); !bytes.Equal(got, want) {
				t.Fatalf("the answer to\n%x is\n%x, want\n%x", request, got, want)
			}
		}
	}
}

func TestPrivilegedAVIPThatIsGoneAnswersNoPing(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	request := frame(ip4(), ping(56))
	for _, row := range []struct{ says, outcome string }{{"while it is there", "REPLY_ECHO"}, {"once it is gone", "PASS_NOT_VIP"}} {
		if got := h.send(request); got.moved[row.outcome] != 1 {
			t.Errorf("%s, an echo request is counted as %v", row.says, got.moved)
		}
		h.want()
	}
}

// pong is the request turned round, with checksums that are computed anew.
func pong(in, _ []byte) []byte {
	ip := bytes.Clone(in[linkSize(in):])
	if ip[0]>>4 == 6 {
		source := bytes.Clone(ip[8:24])
		copy(ip[8:], ip[24:40])
		copy(ip[24:], source)
		message := ip[40:ipLength(ip)]
		ip[7], message[0], message[2], message[3] = 64, 129, 0, 0
		begun := uint32(packet.Sum(uint32(packet.ICMPv6)+uint32(len(message)), ip[8:40]))
		binary.BigEndian.PutUint16(message[2:], ^packet.Sum(begun, message))
		return append(backTo(in), ip...)
	}
	source := bytes.Clone(ip[12:16])
	copy(ip[12:], ip[16:20])
	copy(ip[16:], source)
	message := ip[20:ipLength(ip)]
	ip[8], ip[10], ip[11] = 64, 0, 0
	message[0], message[2], message[3] = 0, 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^packet.Sum(0, ip[:20]))
	binary.BigEndian.PutUint16(message[2:], ^packet.Sum(0, message))
	return append(backTo(in), ip...)
}

// stillWrong is the answer whose sum is off by as much as the request's was.
func stillWrong(in, _ []byte) []byte {
	answer := pong(in, nil)
	wrong := packet.Sum(0, in[14+20:]) // of a right message this is 0xffff
	right := binary.BigEndian.Uint16(answer[14+20+2:])
	binary.BigEndian.PutUint16(answer[14+20+2:], packet.Sum(uint32(right)+uint32(wrong), nil))
	return answer
}
