package kernel

import "testing"

func TestPrivilegedDecapLeavesGUEThatItDoesNotUnderstandToTheHost(t *testing.T) {
	b := newDecapBench(t)
	for _, outer6 := range []bool{false, true} {
		m := decapMix{outer6: outer6, gue: true}
		frame := m.frame(0, m.inner(0))
		udp := m.headers() - 12
		gue := udp + 8
		rows := []struct {
			name    string
			frame   []byte
			outcome string
		}{
			{"a datagram to another port", decapChanged(frame, udp+3, 0xc1), "PASS_NOT_TUNNEL"},
			{"a datagram from GUE's port to another", decapChanged(frame, udp, 6080>>8, 6080&0xff, 0x30, 0x39), "PASS_NOT_TUNNEL"},
			{"UDP-Lite", decapProtocolChanged(frame, 136), "PASS_NOT_TUNNEL"},
			{"GRE in GUE", decapChanged(frame, gue+1, 47), "PASS_NOT_TUNNEL"},
			{"an empty message in GUE", decapChanged(frame, gue+1, 59), "PASS_NOT_TUNNEL"},
			{"variant 1, IP in UDP and nothing between", decapChanged(frame, gue, 0x45), "PASS_GUE_VARIANT"},
			{"variant 2", decapChanged(frame, gue, 0x80), "PASS_GUE_VARIANT"},
			{"variant 3", decapChanged(frame, gue, 0xc0), "PASS_GUE_VARIANT"},
			{"a control message", decapChanged(frame, gue, 0x20), "PASS_GUE_OPTIONS"},
			{"a word of optional fields", decapChanged(frame, gue, 0x01), "PASS_GUE_OPTIONS"},
			{"all that the length can say", decapChanged(frame, gue, 0x1f), "PASS_GUE_OPTIONS"},
			{"a flag of the first byte", decapChanged(frame, gue+2, 0x80), "PASS_GUE_OPTIONS"},
			{"a flag of the second", decapChanged(frame, gue+3, 0x01), "PASS_GUE_OPTIONS"},
			{"a UDP checksum, be it right or not", decapChanged(frame, udp+6, 0x12, 0x34), "PASS_GUE_CHECKSUM"},
			{"a UDP length without room for GUE", decapChanged(frame, udp+4, 0, 11), "PASS_OUTER_SENSELESS"},
			{"a UDP length beyond the IP packet", decapChanged(frame, udp+5, frame[udp+5]+1), "PASS_OUTER_SENSELESS"},
			{"a UDP length that leaves nothing for the inner header", decapChanged(frame, udp+4, 0, 12), "PASS_INNER_CUT_SHORT"},
			{"a UDP length that ends within the inner packet", decapChanged(frame, udp+5, frame[udp+5]-1), "DROP_INNER_LENGTH"},
			{"IPv6 where IPv4 was promised", decapChanged(frame, gue+4, 0x60), "PASS_INNER_SENSELESS"},
			{"IPv4 where IPv6 was promised", decapChanged(frame, gue+1, 41), "PASS_INNER_SENSELESS"},
		}
		for _, row := range rows {
			t.Run(row.name+", "+m.String(), func(t *testing.T) { b.check(t, row.frame, row.outcome, nil) })
		}
	}
}

func TestPrivilegedDecapTakesNoFragmentsAndNoOptionsOfGUE(t *testing.T) {
	b := newDecapBench(t)
	packet := decapInGUE(false, 0, decapInner(false, 0))
	frame := decapFrame(packet)
	options := append(append(packet[:20:20], 1, 1, 1, 1), packet[20:]...)
	options[0], options[3] = 0x46, options[3]+4
	elsewhere := append([]byte(nil), options...)
	elsewhere[24+3]++
	for _, row := range []struct {
		name    string
		frame   []byte
		outcome string
	}{
		{"a first fragment", decapSummed(decapChanged(frame, 20, 0x20)), "PASS_OUTER_FRAGMENT"},
		{"a later fragment has no port, so it may be anybody's", decapSummed(decapChanged(frame, 20, 0x00, 0x10)), "PASS_NOT_TUNNEL"},
		{"IPv4 options before GUE's port", decapSummed(decapFrame(options)), "PASS_OUTER_OPTIONS"},
		{"IPv4 options before another port", decapSummed(decapFrame(elsewhere)), "PASS_NOT_TUNNEL"},
		{"an outer checksum that is wrong", decapChanged(frame, 24, frame[24]^1), "PASS_OUTER_SENSELESS"},
		{"a stranger's", decapSummed(decapChanged(frame, 29, 4)), "DROP_SOURCE_NOT_ALLOWED"},
		{"for a VIP that is not ours", decapChanged(frame, 46+19, 11), "PASS_NOT_OUR_VIP"},
	} {
		t.Run(row.name, func(t *testing.T) { b.check(t, row.frame, row.outcome, nil) })
	}
}

// decapProtocolChanged is a frame whose outer header names another protocol.
func decapProtocolChanged(frame []byte, protocol byte) []byte {
	if frame[12] == 0x08 {
		return decapSummed(decapChanged(frame, 23, protocol))
	}
	return decapChanged(frame, 20, protocol)
}
