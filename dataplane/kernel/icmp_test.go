package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// message is an ICMP message to the VIP of a family, checksum right: type, code,
// the four bytes that follow the checksum, and the rest.
func message(t *testing.T, v6 bool, kind, code uint8, rest []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC}
	if v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 9, NextHeader: layers.IPProtocolICMPv6, SrcIP: client6.AsSlice(), DstIP: vip6.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return serialize(t, eth, ip, icmp, gopacket.Payload(rest))
	}
	eth.EthernetType = layers.EthernetTypeIPv4
	ip := &layers.IPv4{Version: 4, Id: 9, TTL: 9, Protocol: layers.IPProtocolICMPv4, SrcIP: client4.AsSlice(), DstIP: vip4.AsSlice()}
	icmp := &layers.ICMPv4{
		TypeCode: layers.CreateICMPv4TypeCode(kind, code),
		Id:       binary.BigEndian.Uint16(rest), Seq: binary.BigEndian.Uint16(rest[2:]),
	}
	return serialize(t, eth, ip, icmp, gopacket.Payload(rest[4:]))
}

// answered is the reply to an echo request, checksums computed anew by another
// implementation.
func answered(t *testing.T, request []byte) []byte {
	t.Helper()
	packet := gopacket.NewPacket(request, layers.LayerTypeEthernet, gopacket.Default)
	eth := packet.LinkLayer().(*layers.Ethernet)
	eth.SrcMAC, eth.DstMAC = eth.DstMAC, eth.SrcMAC
	if ip, ok := packet.NetworkLayer().(*layers.IPv6); ok {
		ip.SrcIP, ip.DstIP, ip.HopLimit = ip.DstIP, ip.SrcIP, 64
		icmp := packet.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		icmp.TypeCode = layers.CreateICMPv6TypeCode(129, 0)
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		return serialize(t, eth, ip, icmp, gopacket.Payload(icmp.Payload))
	}
	ip := packet.NetworkLayer().(*layers.IPv4)
	ip.SrcIP, ip.DstIP, ip.TTL = ip.DstIP, ip.SrcIP, 64
	icmp := packet.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	icmp.TypeCode = layers.CreateICMPv4TypeCode(0, 0)
	return serialize(t, eth, ip, icmp, gopacket.Payload(icmp.Payload))
}

// echo is the rest of an echo request: identifier, sequence and a payload.
func echo(size int) []byte { return append([]byte{0x12, 0x34, 0, 7}, make([]byte, size)...) }

func TestPrivilegedAVIPAnswersPing(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	for _, v6 := range []bool{false, true} {
		kind := uint8(8)
		if v6 {
			kind = 128
		}
		for _, size := range []int{0, 56, 57, 1400} {
			t.Run(fmt.Sprintf("IPv6 %v, %d bytes", v6, size), func(t *testing.T) {
				request := message(t, v6, kind, 0, echo(size))
				expect(t, h.send(request), xdpTX, answered(t, request), "REPLY_ECHO")
			})
		}
		t.Run(fmt.Sprintf("IPv6 %v, in two VLANs", v6), func(t *testing.T) {
			request := message(t, v6, kind, 0, echo(56))
			tags := [2]uint16{dataplane.ServiceTag | 5, 6}
			expect(t, h.send(withTags(request, tags)), xdpTX, withTags(answered(t, request), tags), "REPLY_ECHO")
		})
	}
	h.want()
	request := message(t, false, 8, 0, echo(56))
	t.Run("but not once it is gone", func(t *testing.T) { expect(t, h.send(request), xdpPass, request, "PASS_NOT_VIP") })
}

// A checksum that is mended and not computed may go wrong where sums are zero.
func TestPrivilegedEveryPongHasARightChecksum(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	step := 1
	if testing.Short() {
		step = 13
	}
	for id := 0; id < 1<<16; id += step {
		rest := binary.BigEndian.AppendUint16(nil, uint16(id))
		request := message(t, id%2 == 0, map[bool]uint8{false: 8, true: 128}[id%2 == 0], 0, append(rest, 0, 0))
		if got := h.run(request); !bytes.Equal(got, answered(t, request)) {
			t.Fatalf("the answer to\n%x is\n%x, want\n%x", request, got, answered(t, request))
		}
	}
}

// about is an error about a packet that a backend sent in the VIP's name, of
// which the first bytes behind the IP header are quoted.
func about(t *testing.T, f flow, kind, code uint8, quoted int) []byte {
	packet, _ := f.packet(t)
	headers, addresses, size := 20, 12, 4
	if f.v6 {
		headers, addresses, size = 40, 8, 16
	}
	sent := bytes.Clone(packet[:headers+quoted])
	turn := func(at, size int) {
		copy(sent[at:], slices.Concat(sent[at+size:at+2*size], sent[at:at+size]))
	}
	turn(addresses, size)
	turn(headers, 2)
	if !f.v6 {
		mendChecksum(sent[:20])
	}
	return message(t, f.v6, kind, code, append(make([]byte, 4), sent...))
}

func TestPrivilegedAnICMPErrorGoesToTheBackendOfItsFlow(t *testing.T) {
	h := newHarness(t)
	for _, way := range ways {
		h.want(serviceOn("web", backendTo(way.addr, way.forward, loopback)))
		index, entry := onlyBackend(t, h)
		for _, row := range []struct {
			name       string
			flow       flow
			kind, code uint8
			quoted     int
		}{
			{"fragmentation needed", flow{protocol: dataplane.TCP}, 3, 4, 8},
			{"a quote that ends behind the ports", flow{protocol: dataplane.UDP}, 3, 3, 4},
			{"time exceeded with a long quote", flow{protocol: dataplane.UDP}, 11, 0, 72},
			{"parameter problem", flow{protocol: dataplane.TCP}, 12, 0, 20},
			{"packet too big", flow{protocol: dataplane.TCP, v6: true}, 2, 0, 20},
			{"unreachable over IPv6", flow{protocol: dataplane.UDP, v6: true}, 1, 4, 8},
			{"time exceeded over IPv6", flow{protocol: dataplane.TCP, v6: true}, 3, 0, 4},
			{"parameter problem over IPv6", flow{protocol: dataplane.UDP, v6: true}, 4, 1, 8},
		} {
			t.Run(fmt.Sprintf("%s, %s to %s", row.name, way.forward, way.addr), func(t *testing.T) {
				frame := about(t, row.flow, row.kind, row.code, row.quoted)
				got := h.send(frame)
				expect(t, got, xdpTX, forwarded(t, frame, entry, got.frame), fmt.Sprintf("backend %d", index))
			})
		}
		h.want()
	}
}

// forwarded is a frame of any kind as it goes to a backend.
func forwarded(t *testing.T, frame []byte, to dataplane.BackendEntry, sent []byte) []byte {
	t.Helper()
	if !to.Forward.Tunnels() {
		return slices.Concat([]byte(nextHopMAC), []byte(egressMAC), frame[12:])
	}
	v6 := frame[14]>>4 == 6
	length := int(binary.BigEndian.Uint16(frame[14+2:]))
	if v6 {
		length = 40 + int(binary.BigEndian.Uint16(frame[14+4:]))
	}
	return wrapped(t, frame[14:14+length], frame[14+length:], v6, 0, to, entropyOf(sent))
}

func TestPrivilegedAnICMPErrorLeavesNoTraceOfItsFlow(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback), backendTo(backend6, dataplane.IPIP, loopback)))
	for vip, entry := range h.tables.VIPs {
		entry.Unsettled, entry.TrackAlways = true, true
		h.apply(dataplane.PutVIP{VIP: vip, Entry: entry})
	}
	for slot, owner := range h.tables.Slots {
		if owner != dataplane.NoBackend {
			h.tables.Conditions.Put(uint32(slot), dataplane.TCP, dataplane.Condition{Phase: dataplane.Moving, Fallback: 3 - owner})
			h.tables.Conditions.Put(uint32(slot), dataplane.UDP, dataplane.Condition{Phase: dataplane.Learning, Fallback: 3 - owner})
		}
	}
	opened := flow{protocol: dataplane.TCP, client: 1111}
	h.send(opened.frame(t))
	opened.ack = true
	for _, row := range []struct {
		name string
		flow flow
	}{
		{"a flow that has just been opened", opened},
		{"a flow that nobody remembers", flow{protocol: dataplane.TCP, ack: true, client: 1112}},
		{"a flow that is being learned", flow{protocol: dataplane.UDP, client: 1113}},
	} {
		t.Run(row.name, func(t *testing.T) {
			flows, conditions := slices.Clone(h.tables.Flows), slices.Clone(h.tables.Conditions)
			err := h.send(about(t, row.flow, 3, 0, 8))
			if !slices.Equal(h.tables.Flows, flows) || !slices.Equal(h.tables.Conditions, conditions) {
				t.Error("it left a trace")
			}
			if packet := h.send(row.flow.frame(t)); err.verdict != xdpTX || !maps.Equal(err.moved, packet.moved) {
				t.Errorf("it went to %v, and its flow's packets go to %v", err.moved, packet.moved)
			}
		})
	}
}

func TestPrivilegedICMPThatIsNoBackendsIsTheHostsOrSaysWhyNot(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	tcp, tcp6 := flow{protocol: dataplane.TCP}, flow{protocol: dataplane.TCP, v6: true}
	ping, ping6 := message(t, false, 8, 0, echo(56)), message(t, true, 128, 0, echo(56))
	unreachable, tooBig := about(t, tcp, 3, 4, 8), about(t, tcp6, 2, 0, 8)
	for _, row := range []struct {
		name    string
		frame   []byte
		verdict uint32
		outcome string
	}{
		{"ping to another address", edit(ping, 14+19, 99), xdpPass, "PASS_NOT_VIP"},
		{"an error to another address", edit(tooBig, 14+39, 99), xdpPass, "PASS_NOT_VIP"},
		{"an error about another port of the VIP's address", about(t, flow{protocol: dataplane.TCP, port: 81}, 3, 4, 8), xdpPass, "PASS_NOT_VIP"},
		{"ping from a multicast group", edit(ping, 14+12, 224), xdpPass, "PASS_ICMP"},
		{"ping over IPv6 from a multicast group", edit(ping6, 14+8, 0xff), xdpPass, "PASS_ICMP"},
		{"ping with options", edit(ping, 14, 0x46), xdpPass, "PASS_ICMP"},
		{"ping in fragments", edit(ping, 14+6, 0x20), xdpPass, "PASS_ICMP"},
		{"ping behind an extension header", behind(ping6, destinationOptions), xdpPass, "PASS_ICMP"},
		{"a pong", message(t, false, 0, 0, echo(56)), xdpPass, "PASS_ICMP"},
		{"a redirect", about(t, tcp, 5, 0, 8), xdpPass, "PASS_ICMP"},
		{"a source quench, which RFC 6633 has ended", about(t, tcp, 4, 0, 8), xdpPass, "PASS_ICMP"},
		{"a neighbour solicitation", message(t, true, 135, 0, make([]byte, 20)), xdpPass, "PASS_ICMP"},
		{"an error about a packet of another protocol", edit(unreachable, 14+20+8+9, 47), xdpPass, "PASS_ICMP"},
		{"a ping whose length lies", edit(ping, 14+2, 1), xdpDrop, "DROP_BAD_LENGTH"},
		{"an error whose length lies", edit(tooBig, 14+4, 1), xdpDrop, "DROP_BAD_LENGTH"},
		{"a message without its eight bytes", ping[:14+20+7], xdpDrop, "DROP_UNREADABLE"},
		{"a quote that ends within the ports", about(t, tcp, 3, 4, 3), xdpDrop, "DROP_ICMP_QUOTE"},
		{"a quote that goes on behind the packet", edit(tooBig, 14+5, 8+40+3), xdpDrop, "DROP_ICMP_QUOTE"},
		{"a quote that ends within its IP header", edit(unreachable, 14+3, 20+8+19), xdpDrop, "DROP_ICMP_QUOTE"},
		{"a quote of nothing that is IP", edit(unreachable, 14+20+8, 0x75), xdpDrop, "DROP_ICMP_QUOTE"},
		{"a quote of what another address sent", edit(unreachable, 14+20+8+15, 99), xdpDrop, "DROP_ICMP_QUOTE"},
		{"a quote of a later fragment", edit(unreachable, 14+20+8+7, 9), xdpDrop, "DROP_ICMP_QUOTE"},
	} {
		t.Run(row.name, func(t *testing.T) { expect(t, h.send(row.frame), row.verdict, row.frame, row.outcome) })
	}
}

func TestPrivilegedAPacketThatComesBackFromItsL2BackendIsDropped(t *testing.T) {
	h := newHarness(t)
	back := flow{protocol: dataplane.TCP}.frame(t)
	copy(back[6:], nextHopMAC)
	for _, row := range []struct {
		forward dataplane.Forward
		verdict uint32
		counter string
	}{
		{dataplane.L2, xdpDrop, "DROP_LOOP"},
		{dataplane.IPIP, xdpTX, "backend 1"}, // the next hop may be the client's router, too
	} {
		h.want(serviceOn("web", backendTo(backend4, row.forward, loopback)))
		for name, frame := range map[string][]byte{"untagged": back, "tagged": withTags(back, [2]uint16{5})} {
			if got := h.send(frame); got.verdict != row.verdict || !maps.Equal(got.moved, map[string]uint64{row.counter: 1}) {
				t.Errorf("%s by %s: verdict %d, counted as %v", name, row.forward, got.verdict, got.moved)
			}
		}
	}
}
