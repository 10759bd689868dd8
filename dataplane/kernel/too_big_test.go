package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// refusal is what the sender of an untagged frame should get: an ICMP error from
// the VIP that names an MTU, as another implementation writes it.
func refusal(t *testing.T, frame []byte, mtu uint16) []byte {
	t.Helper()
	eth := &layers.Ethernet{DstMAC: frame[6:12], SrcMAC: frame[:6], EthernetType: layers.EthernetType(binary.BigEndian.Uint16(frame[12:]))}
	packet := frame[14:]
	if eth.EthernetType == layers.EthernetTypeIPv6 {
		packet = packet[:40+int(binary.BigEndian.Uint16(packet[4:]))]
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: packet[24:40], DstIP: packet[8:24]}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
		if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		told := binary.BigEndian.AppendUint32(nil, uint32(mtu))
		return serialize(t, eth, ip, icmp, gopacket.Payload(append(told, quoted(packet, 1280-40-8)...)))
	}
	packet = packet[:binary.BigEndian.Uint16(packet[2:])]
	ip := &layers.IPv4{
		Version: 4, TOS: 0xc0, Flags: layers.IPv4DontFragment, TTL: 64, Protocol: layers.IPProtocolICMPv4,
		SrcIP: packet[16:20], DstIP: packet[12:16],
	}
	icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: mtu}
	return serialize(t, eth, ip, icmp, gopacket.Payload(quoted(packet, 576-20-8)))
}

// quoted is how much of a packet is sent back: whole words, and no more than most.
func quoted(packet []byte, most int) []byte { return packet[:min(len(packet), most)&^3] }

// noDF and withDF tell what becomes of IPv4 packets that are too big.
const withDF, noDF = "REPLY_TOO_BIG", "REPLY_TOO_BIG_NO_DF"

func TestPrivilegedTheSenderOfAPacketThatIsTooBigIsToldTheMTU(t *testing.T) {
	h := newHarness(t)
	for _, way := range []struct {
		forward dataplane.Forward
		addr    netip.Addr
		fits    int
	}{
		{dataplane.L2, backend4, 1500},
		{dataplane.IPIP, backend4, 1480},
		{dataplane.IPIP, backend6, 1460},
		{dataplane.GUE, backend4, 1468},
		{dataplane.GUE, backend6, 1448},
	} {
		h.want(serviceOn("web", backendTo(way.addr, way.forward, loopback)))
		for _, row := range []struct {
			name    string
			flow    flow
			headers int
			outcome string
		}{
			{"a segment over IPv4 with DF", flow{protocol: dataplane.TCP, ack: true, df: true}, 40, withDF},
			{"a SYN over IPv4 without DF", flow{protocol: dataplane.TCP}, 40, noDF},
			{"a datagram over IPv4 with DF", flow{protocol: dataplane.UDP, df: true}, 28, withDF},
			{"a datagram over IPv4 without DF", flow{protocol: dataplane.UDP, tos: 0xff}, 28, noDF},
			{"a datagram over IPv4 with options", flow{protocol: dataplane.UDP, options: 12, df: true}, 40, withDF},
			{"a segment over IPv6", flow{protocol: dataplane.TCP, ack: true, v6: true, tos: 0xff}, 60, withDF},
			{"a datagram over IPv6", flow{protocol: dataplane.UDP, v6: true}, 48, withDF},
		} {
			t.Run(fmt.Sprintf("%s, %s to %s", row.name, way.forward, way.addr), func(t *testing.T) {
				f := row.flow
				for _, more := range []int{1, 2, 3, 4, 500} {
					f.size = way.fits - row.headers + more
					expect(t, h.send(f.frame(t)), xdpTX, refusal(t, f.frame(t), uint16(way.fits)), row.outcome)
				}
				f.size = way.fits - row.headers
				if got := h.send(f.frame(t)); got.moved[row.outcome] != 0 {
					t.Error("a packet that just fits was refused")
				}
			})
		}
	}
}

func TestPrivilegedARefusalQuotesWholeWordsOfShortPacketsAndSumsUp(t *testing.T) {
	h := newHarness(t)
	backend := backendTo(backend4, dataplane.IPIP, loopback)
	backend.Hop.MTU = 20 + 100
	h.want(serviceOn("web", backend))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for size := 100; size < 1400; size += 1 + random.IntN(7) {
		f := flow{protocol: dataplane.UDP, v6: random.IntN(2) == 0, df: true, size: size, client: uint16(1 + random.IntN(65535))}
		frame := f.frame(t)
		for i := len(frame) - size; i < len(frame); i++ {
			frame[i] = byte(random.Uint32())
		}
		expect(t, h.send(frame), xdpTX, refusal(t, frame, 100), "REPLY_TOO_BIG")
	}
}

func TestPrivilegedARefusalLeavesEthernetPaddingOut(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	f := flow{protocol: dataplane.UDP, df: true, size: 1472}
	expect(t, h.send(append(f.frame(t), make([]byte, 6)...)), xdpTX, refusal(t, f.frame(t), 1480), "REPLY_TOO_BIG")
}

func TestPrivilegedARefusalHasTheTagsOfWhatItRefuses(t *testing.T) {
	h := newHarness(t)
	backend := backendTo(backend4, dataplane.IPIP, loopback)
	backend.Hop.VLAN = [2]uint16{4000, 4001}
	h.want(serviceOn("web", backend))
	for _, vlan := range vlans {
		for _, f := range []flow{{protocol: dataplane.UDP, df: true, size: 1500}, {protocol: dataplane.TCP, v6: true, size: 1500}} {
			t.Run(fmt.Sprintf("%s, IPv6 %v", vlan.name, f.v6), func(t *testing.T) {
				got := h.send(withTags(f.frame(t), vlan.tags))
				expect(t, got, xdpTX, withTags(refusal(t, f.frame(t), 1480), vlan.tags), withDF)
			})
		}
	}
}

func TestPrivilegedWhoeverIsNotOneHostGetsNoRefusal(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	over4 := flow{protocol: dataplane.UDP, df: true, size: 1472}.frame(t)
	over6 := flow{protocol: dataplane.UDP, v6: true, size: 1452}.frame(t)
	from4 := func(source string) []byte { return fromAddress(over4, 14+12, source) }
	from6 := func(source string) []byte { return fromAddress(over6, 14+8, source) }
	for _, row := range []struct {
		name  string
		frame []byte
	}{
		{"this network", from4("0.0.0.0")},
		{"a host of this network", from4("0.1.2.3")},
		{"the loopback network", from4("127.0.0.1")},
		{"a group", from4("224.0.0.1")},
		{"a reserved address", from4("240.0.0.1")},
		{"everybody", from4("255.255.255.255")},
		{"nobody", from6("::")},
		{"the loopback address", from6("::1")},
		{"a group of IPv6", from6("ff02::1")},
		{"whoever sends to all on the segment", edit(over4, 0, 0xff)},
		{"whoever sends to a group on the segment", edit(over6, 0, 0x33)},
	} {
		t.Run(row.name, func(t *testing.T) {
			expect(t, h.send(row.frame), xdpDrop, row.frame, "DROP_TOO_BIG")
		})
	}
	for _, row := range []struct {
		name    string
		frame   []byte
		verdict string
	}{
		{"the lowest address of a host", from4("1.0.0.0"), withDF},
		{"the address below the loopback network", from4("126.255.255.255"), withDF},
		{"the address above it", from4("128.0.0.0"), withDF},
		{"the highest address of a host", from4("223.255.255.255"), withDF},
		{"the address behind IPv6's loopback", from6("::2"), withDF},
		{"a link-local address", from6("fe80::1"), withDF},
	} {
		t.Run(row.name+" gets one", func(t *testing.T) {
			mtu := uint16(1480)
			expect(t, h.send(row.frame), xdpTX, refusal(t, row.frame, mtu), row.verdict)
		})
	}
}

// fromAddress is the frame with another source.
func fromAddress(frame []byte, at int, source string) []byte {
	changed := bytes.Clone(frame)
	copy(changed[at:], netip.MustParseAddr(source).AsSlice())
	return edit(changed, at, changed[at])
}

func TestPrivilegedRefusalsAreLimitedEachSecond(t *testing.T) {
	needRoot(t)
	onOneCPU(t)
	plane, err := Open(Options{PinDir: pinDir(t), Secret: 42, Limits: testLimits, Slots: 4096, Flows: 4096, Errors: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	h := harnessOn(t, plane)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	f := flow{protocol: dataplane.UDP, df: true, size: 1472}
	for second := range uint32(3) {
		// Far ahead of the clock, so that the real seconds that pass do not matter much.
		if err := plane.objects.ClockSkewSeconds.Set(1000 * (second + 1)); err != nil {
			t.Fatal(err)
		}
		var outcomes []string
		for range 5 {
			for name := range h.send(f.frame(t)).moved {
				outcomes = append(outcomes, name)
			}
		}
		want := "[REPLY_TOO_BIG REPLY_TOO_BIG REPLY_TOO_BIG DROP_TOO_BIG DROP_TOO_BIG]"
		if got := fmt.Sprint(outcomes); got != want {
			t.Errorf("second %d: %s, want %s", second, got, want)
		}
	}
}

// onOneCPU keeps the test where its budget is counted.
func onOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	var one unix.CPUSet
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}
