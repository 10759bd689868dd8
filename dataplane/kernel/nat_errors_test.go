package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// routerSays is the error that a router answers a packet with: longer than mtu.
func routerSays(t testing.TB, from netip.Addr, quoted []byte, mtu uint16) []byte {
	t.Helper()
	quote := quoted[14:min(len(quoted), 14+100)]
	ethernet := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC, EthernetType: layers.EthernetTypeIPv4}
	var stack []gopacket.SerializableLayer
	if quoted[12] == 8 {
		stack = []gopacket.SerializableLayer{ethernet,
			&layers.IPv4{Version: 4, TTL: 60, Protocol: layers.IPProtocolICMPv4, SrcIP: from.AsSlice(), DstIP: quote[12:16]},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: mtu},
		}
	} else {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 60, NextHeader: layers.IPProtocolICMPv6, SrcIP: from.AsSlice(), DstIP: quote[8:24]}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
		icmp.SetNetworkLayerForChecksum(ip)
		quote = append([]byte{0, 0, byte(mtu >> 8), byte(mtu)}, quote...)
		stack = []gopacket.SerializableLayer{ethernet, ip, icmp}
	}
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(stack, gopacket.Payload(quote))...)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buffer.Bytes())
}

// hearTooBig reads such an error: its receiver, the packet that it quotes as a
// frame, and the MTU. It fails where a checksum is wrong.
func hearTooBig(t testing.TB, frame []byte) (from, to netip.Addr, quoted []byte, mtu uint32) {
	t.Helper()
	ip := frame[14:]
	if frame[12] == 8 {
		message := ip[20:binary.BigEndian.Uint16(ip[2:])]
		if ^sum16(ip[:20]) != 0 || ^sum16(message) != 0 || message[0] != 3 || message[1] != 4 || ^sum16(message[8:28]) != 0 {
			t.Fatalf("%x is no too big with right checksums", frame)
		}
		from, _ = netip.AddrFromSlice(ip[12:16])
		to, _ = netip.AddrFromSlice(ip[16:20])
		return from, to, append(bytes.Clone(frame[:14]), message[8:]...), uint32(binary.BigEndian.Uint16(message[6:]))
	}
	message := ip[40 : 40+binary.BigEndian.Uint16(ip[4:])]
	pseudo := append(bytes.Clone(ip[8:40]), 0, 0, ip[4], ip[5], 0, 0, 0, 58)
	if ^sum16(append(pseudo, message...)) != 0 || message[0] != 2 {
		t.Fatalf("%x is no too big with a right checksum", frame)
	}
	from, _ = netip.AddrFromSlice(ip[8:24])
	to, _ = netip.AddrFromSlice(ip[24:40])
	return from, to, append(bytes.Clone(frame[:14]), message[8:]...), binary.BigEndian.Uint32(message[4:])
}

// Each of them is told the MTU in its own family: twenty bytes more or less.
func TestPrivilegedAnErrorAboutAConnectionReachesWhoItIsFor(t *testing.T) {
	router4, router6 := netip.MustParseAddr("198.51.100.200"), netip.MustParseAddr("2001:db8:7::ff")
	for _, mix := range natMixes {
		t.Run(mix.name, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
			sent := talk{
				from: netip.AddrPortFrom(mix.client, 40000), to: netip.AddrPortFrom(mix.vip, 80), protocol: dataplane.TCP,
				flags: "A", seq: 1001, ack: 5001, payload: string(make([]byte, 200)),
			}
			begin := sent
			begin.flags, begin.payload = "S", ""
			s.reply(answer(s.request(begin), "SA", ""))
			asked := s.request(sent)
			answered := s.reply(answer(asked, "A", string(make([]byte, 200))))
			routerOf := func(of netip.Addr) netip.Addr {
				if of.Is4() {
					return router4
				}
				return router6
			}

			got := s.send(routerSays(t, routerOf(mix.client), answered.frame(t), 1400))
			if got.verdict != xdpTX || !maps.Equal(got.moved, map[string]uint64{"backend 1": 1}) {
				t.Fatalf("an error of the client's side: verdict %d, counters %v", got.verdict, got.moved)
			}
			from, to, quoted, mtu := hearTooBig(t, got.frame)
			about := overhear(quoted)
			if from != asked.from.Addr() || to != mix.backend || about.from != asked.to || about.to != asked.from {
				t.Errorf("the backend hears from %s to %s of a packet from %s to %s", from, to, about.from, about.to)
			}
			if want := shifted(1400, mix.vip, mix.backend); mtu != want {
				t.Errorf("the backend hears of %d bytes, want %d", mtu, want)
			}

			got = s.send(routerSays(t, routerOf(mix.backend), asked.frame(t), 1400))
			if got.verdict != xdpTX || !maps.Equal(got.moved, map[string]uint64{"REPLY_BACKEND": 1}) {
				t.Fatalf("an error of the backend's side: verdict %d, counters %v", got.verdict, got.moved)
			}
			from, to, quoted, mtu = hearTooBig(t, got.frame)
			about = overhear(quoted)
			if from != mix.vip || to != mix.client || about.from != sent.from || about.to != sent.to {
				t.Errorf("the client hears from %s to %s of a packet from %s to %s", from, to, about.from, about.to)
			}
			if want := shifted(1400, mix.backend, mix.vip); mtu != want {
				t.Errorf("the client hears of %d bytes, want %d", mtu, want)
			}

			damaged := routerSays(t, routerOf(mix.backend), asked.frame(t), 1400)
			damaged[len(damaged)-1] ^= 1
			if got := s.send(damaged); !maps.Equal(got.moved, map[string]uint64{"DROP_BAD_CHECKSUM": 1}) {
				t.Errorf("a damaged error: counters moved by %v", got.moved)
			}
			stranger := asked
			stranger.from = netip.AddrPortFrom(asked.from.Addr(), asked.from.Port()^1)
			if got := s.send(routerSays(t, routerOf(mix.backend), stranger.frame(t), 1400)); !maps.Equal(got.moved, map[string]uint64{"PASS_NOT_VIP": 1}) {
				t.Errorf("an error about nobody's connection: counters moved by %v", got.moved)
			}
		})
	}
}

// It goes on as itself, so two balancers could send it to each other for ever.
func TestPrivilegedAnErrorGoesNoFurtherThanItsHopsLast(t *testing.T) {
	for _, mix := range natMixes {
		t.Run(mix.name, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
			sent := talk{from: netip.AddrPortFrom(mix.client, 40000), to: netip.AddrPortFrom(mix.vip, 80), protocol: dataplane.UDP}
			asked := s.request(sent)
			answered := s.reply(talk{from: asked.to, to: asked.from, protocol: dataplane.UDP})
			for _, side := range []struct {
				router netip.Addr
				of     talk
				counts string
			}{{mix.client.Next(), answered, "backend 1"}, {mix.backend.Next(), asked, "REPLY_BACKEND"}} {
				says := routerSays(t, side.router, side.of.frame(t), 1400)
				for _, hops := range []byte{0, 1, 2, 255} {
					frame := edited(says, func(ip []byte) { ip[8] = hops }, func(ip []byte) { ip[7] = hops })
					want, got := side.counts, s.send(frame)
					if hops < 2 {
						want = "DROP_TTL"
					} else if left := hopsOf(got.frame); left != hops-1 {
						t.Errorf("of %d hops %d are left", hops, left)
					}
					if !maps.Equal(got.moved, map[string]uint64{want: 1}) {
						t.Errorf("with %d hops left counters moved by %v, want %s", hops, got.moved, want)
					}
				}
			}
		})
	}
}

func hopsOf(frame []byte) byte {
	if frame[12] == 8 {
		return frame[14+8]
	}
	return frame[14+7]
}

// shifted is an MTU in the family of to, of a way in that of from.
func shifted(mtu uint32, from, to netip.Addr) uint32 {
	switch {
	case from.Is4() == to.Is4():
		return mtu
	case to.Is6():
		return mtu + 20
	}
	return mtu - 20
}
