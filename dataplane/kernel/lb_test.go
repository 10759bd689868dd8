package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// expect checks the verdict, the bytes and that exactly one counter moved, by one.
func expect(t *testing.T, got result, verdict uint32, frame []byte, counter string) {
	t.Helper()
	if got.verdict != verdict {
		t.Errorf("verdict is %d, want %d", got.verdict, verdict)
	}
	if !bytes.Equal(got.frame, frame) {
		t.Errorf("the frame is\n%x, want\n%x", got.frame, frame)
	}
	if want := map[string]uint64{counter: 1}; !maps.Equal(got.moved, want) {
		t.Errorf("counters moved by %v, want %v", got.moved, want)
	}
}

func TestPrivilegedEveryFlowReachesEveryKindOfBackend(t *testing.T) {
	egress := inNamespace(t)
	h := newHarness(t)
	ways := []struct {
		name    string
		forward dataplane.Forward
		addr    netip.Addr
	}{
		{"ipip to IPv4", dataplane.IPIP, backend4},
		{"ipip to IPv6", dataplane.IPIP, backend6},
		{"gue to IPv4", dataplane.GUE, backend4},
		{"gue to IPv6", dataplane.GUE, backend6},
		{"l2 to IPv4", dataplane.L2, backend4},
		{"l2 to IPv6", dataplane.L2, backend6},
	}
	flows := map[string]flow{
		"a SYN over IPv4":                         {protocol: dataplane.TCP},
		"a segment over IPv4":                     {protocol: dataplane.TCP, ack: true, size: 1000},
		"a datagram over IPv4":                    {protocol: dataplane.UDP},
		"a SYN over IPv6":                         {protocol: dataplane.TCP, v6: true},
		"a segment over IPv6":                     {protocol: dataplane.TCP, ack: true, v6: true, size: 1000},
		"a datagram over IPv6":                    {protocol: dataplane.UDP, v6: true},
		"DSCP EF and ECT(0) over IPv4":            {protocol: dataplane.TCP, tos: 46<<2 | 2},
		"DSCP EF and CE over IPv6":                {protocol: dataplane.UDP, tos: 46<<2 | 3, v6: true},
		"all bits of TOS over IPv4":               {protocol: dataplane.UDP, tos: 0xff},
		"IPv4 with 40 bytes of options":           {protocol: dataplane.TCP, options: 40},
		"IPv4 with 4 bytes of options":            {protocol: dataplane.UDP, options: 4},
		"a one-byte datagram in a padded frame":   {protocol: dataplane.UDP, size: 1},
		"an odd-sized segment over IPv4":          {protocol: dataplane.TCP, ack: true, size: 333},
		"a SYN in a VLAN":                         {protocol: dataplane.TCP, tags: []uint16{0x8100}},
		"a datagram in a provider's VLAN":         {protocol: dataplane.UDP, v6: true, tags: []uint16{0x88a8, 0x8100}},
		"a SYN behind a hop-by-hop header":        {protocol: dataplane.TCP, v6: true, behind: []layers.IPProtocol{hopByHop}},
		"a datagram behind six extension headers": {protocol: dataplane.UDP, v6: true, behind: []layers.IPProtocol{hopByHop, destinationOptions, routing, atomicFragment, authentication, destinationOptions}},
		"all of it at once":                       {protocol: dataplane.TCP, ack: true, v6: true, tags: []uint16{0x8100, 0x8100}, behind: []layers.IPProtocol{routing}},
		"options in a VLAN":                       {protocol: dataplane.TCP, options: 40, tags: []uint16{0x88a8}},
		"a datagram that just fits once wrapped":  {protocol: dataplane.UDP, size: 1500 - 40 - 12 - 28},
	}
	for _, way := range ways {
		for _, via := range []struct {
			name    string
			ifindex uint32
			verdict uint32
		}{
			{"out of the interface it came in on", loopback, xdpTX},
			{"out of another interface", egress, xdpRedirect},
		} {
			backend := backendTo(way.addr, way.forward, via.ifindex)
			h.want(serviceOn("web", backend))
			index, entry := onlyBackend(t, h)
			for name, f := range flows {
				t.Run(fmt.Sprintf("%s, %s, %s", name, way.name, via.name), func(t *testing.T) {
					got := h.send(f.frame(t))
					want := withMACs(t, f)
					if way.forward.Tunnels() {
						want = tunnelled(t, f, entry, entropyOf(got.frame))
					}
					expect(t, got, via.verdict, want, fmt.Sprintf("backend %d", index))
				})
			}
			h.want()
		}
	}
}

const (
	hopByHop           = layers.IPProtocolIPv6HopByHop
	routing            = layers.IPProtocolIPv6Routing
	destinationOptions = layers.IPProtocolIPv6Destination
	authentication     = layers.IPProtocolAH
	atomicFragment     = layers.IPProtocolIPv6Fragment
)

// seven are one more than are followed.
var seven = []layers.IPProtocol{hopByHop, routing, routing, routing, routing, routing, routing}

// onlyBackend is the one living backend that the kernel holds, as the kernel says.
func onlyBackend(t *testing.T, h *harness) (uint32, dataplane.BackendEntry) {
	t.Helper()
	tables, err := h.plane.Tables()
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(tables.Backends, func(_ uint32, entry dataplane.BackendEntry) bool { return entry.Dead })
	if len(tables.Backends) != 1 {
		t.Fatalf("the kernel holds %d living backends, want 1", len(tables.Backends))
	}
	for index, entry := range tables.Backends {
		return index, entry
	}
	return 0, dataplane.BackendEntry{}
}

func TestPrivilegedWhatIsNotForAVIPPassesUntouched(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	syn := flow{protocol: dataplane.TCP}
	rows := []struct {
		name    string
		frame   []byte
		outcome string
	}{
		{"another port of a VIP's address is the host's own", flow{protocol: dataplane.TCP, port: 81}.frame(t), "PASS_NOT_VIP"},
		{"so it is over IPv6", flow{protocol: dataplane.UDP, port: 81, v6: true}.frame(t), "PASS_NOT_VIP"},
		{"another address with a VIP's port", edit(syn.frame(t), 14+19, 99), "PASS_NOT_VIP"},
		{"an IPv6 packet to ::ffff:192.0.2.10 is none for the IPv4 VIP", toMappedVIP(t), "PASS_NOT_VIP"},
		{"ARP", ethernet(0x0806, 46), "PASS_NOT_IP"},
		{"LLDP", ethernet(0x88cc, 46), "PASS_NOT_IP"},
		{"a VLAN with nothing of IP in it", ethernet(0x8100, 60), "PASS_NOT_IP"},
		{"three tags", flow{protocol: dataplane.TCP, tags: []uint16{0x88a8, 0x8100, 0x8100}}.frame(t), "PASS_NOT_IP"},
		{"another port in a VLAN", flow{protocol: dataplane.TCP, port: 81, tags: []uint16{0x8100}}.frame(t), "PASS_NOT_VIP"},
		{"another port behind extension headers", flow{protocol: dataplane.TCP, port: 81, v6: true, behind: []layers.IPProtocol{hopByHop, routing}}.frame(t), "PASS_NOT_VIP"},
		{"ESP behind an extension header", edit(flow{protocol: dataplane.TCP, v6: true, behind: []layers.IPProtocol{hopByHop}}.frame(t), 14+40, 50), "PASS_NOT_TCP_UDP"},
		{"no next header", edit(flow{protocol: dataplane.TCP, v6: true}.frame(t), 14+6, 59), "PASS_NOT_TCP_UDP"},
		{"too many extension headers to somebody else", edit(flow{protocol: dataplane.TCP, v6: true, behind: seven}.frame(t), 14+39, 99), "PASS_UNREADABLE"},
		{"GRE", edit(syn.frame(t), 14+9, 47), "PASS_NOT_TCP_UDP"},
		{"OSPF", edit(syn.frame(t), 14+9, 89), "PASS_NOT_TCP_UDP"},
		{"a first fragment to another port", edit(flow{protocol: dataplane.TCP, port: 81}.frame(t), 14+6, 0x20), "PASS_NOT_VIP"},
		{"DF alone is no fragment", edit(flow{protocol: dataplane.TCP, port: 81}.frame(t), 14+6, 0x40), "PASS_NOT_VIP"},
		{"an IPv4 header that claims version 5", edit(syn.frame(t), 14, 0x55), "PASS_UNREADABLE"},
		{"an IPv4 header that claims 16 bytes", edit(syn.frame(t), 14, 0x44), "PASS_UNREADABLE"},
		{"an IPv6 header that claims version 4", edit(flow{protocol: dataplane.TCP, v6: true}.frame(t), 14, 0x40), "PASS_UNREADABLE"},
		{"lying lengths of others are not ours to judge", edit(flow{protocol: dataplane.TCP, port: 81}.frame(t), 14+2, 0xff), "PASS_NOT_VIP"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			expect(t, h.send(row.frame), xdpPass, row.frame, row.outcome)
		})
	}
}

func TestPrivilegedAPacketForAVIPIsDroppedOnlyForANamedReason(t *testing.T) {
	h := newHarness(t)
	missing := backendTo(backend4, dataplane.IPIP, 0x7ffffff)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	h.apply(
		dataplane.PutVIP{VIP: dataplane.VIP{Addr: vip4, Port: 81, Protocol: dataplane.TCP}, Entry: dataplane.VIPEntry{FirstSlot: 3000, SlotCount: 251}},
		dataplane.PutBackend{Index: 9, Entry: dataplane.BackendEntry{ID: missing.ID, Forward: missing.Forward, Hop: missing.Hop}, New: true},
		dataplane.PutVIP{VIP: dataplane.VIP{Addr: vip4, Port: 82, Protocol: dataplane.TCP}, Entry: dataplane.VIPEntry{FirstSlot: 2000, SlotCount: 1}},
		dataplane.PutSlots{Name: "egress", Owners: []dataplane.SlotOwner{{Slot: 2000, Owner: 9}}},
		dataplane.PutVIP{VIP: dataplane.VIP{Addr: vip4, Port: 83, Protocol: dataplane.TCP}, Entry: dataplane.VIPEntry{FirstSlot: 1 << 30, SlotCount: 1}},
	)
	segment := flow{protocol: dataplane.TCP, ack: true, size: 100}.frame(t)
	segment6 := flow{protocol: dataplane.TCP, ack: true, size: 100, v6: true}.frame(t)
	rows := []struct {
		name    string
		frame   []byte
		outcome string
	}{
		{"a total length beyond the frame", edit(segment, 14+2, 0x40), "DROP_BAD_LENGTH"},
		{"a total length shorter than the headers", edit(segment, 14+3, 39), "DROP_BAD_LENGTH"},
		{"a total length of zero", edit(edit(segment, 14+2, 0), 14+3, 0), "DROP_BAD_LENGTH"},
		{"an IPv6 payload length beyond the frame", edit(segment6, 14+4, 0x40), "DROP_BAD_LENGTH"},
		{"an IPv6 payload length that overflows 16 bits", edit(edit(segment6, 14+4, 0xff), 14+5, 0xff), "DROP_BAD_LENGTH"},
		{"an IPv6 payload length of zero", edit(edit(segment6, 14+4, 0), 14+5, 0), "DROP_BAD_LENGTH"},
		{"a TCP header of 16 bytes", edit(segment, 14+20+12, 0x40), "DROP_BAD_LENGTH"},
		{"a TCP header that ends behind the packet", edit(flow{protocol: dataplane.TCP, size: 26}.frame(t), 14+20+12, 0xc0), "DROP_BAD_LENGTH"},
		{"a datagram longer than its packet", edit(flow{protocol: dataplane.UDP}.frame(t), 14+20+5, 73), "DROP_BAD_LENGTH"},
		{"a datagram shorter than its header", edit(flow{protocol: dataplane.UDP, v6: true}.frame(t), 14+40+5, 7), "DROP_BAD_LENGTH"},
		{"no flags", edit(segment, 14+20+13, 0), "DROP_BAD_FLAGS"},
		{"SYN and FIN in a VLAN", edit(flow{protocol: dataplane.TCP, v6: true, tags: []uint16{0x8100}}.frame(t), 18+40+13, 3), "DROP_BAD_FLAGS"},
		{"more extension headers than anybody needs", flow{protocol: dataplane.TCP, v6: true, behind: seven}.frame(t), "DROP_UNREADABLE"},
		{"an extension header beyond the frame", edit(flow{protocol: dataplane.TCP, v6: true, behind: []layers.IPProtocol{routing}}.frame(t), 14+40+1, 40), "DROP_UNREADABLE"},
		{"a slot without a backend", flow{protocol: dataplane.TCP, port: 81}.frame(t), "DROP_NO_BACKEND"},
		{"slots outside the map", flow{protocol: dataplane.TCP, port: 83}.frame(t), "DROP_NO_BACKEND"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			expect(t, h.send(row.frame), xdpDrop, row.frame, row.outcome)
		})
	}
	t.Run("an interface that is not in the egress map", func(t *testing.T) {
		got := h.send(flow{protocol: dataplane.TCP, port: 82}.frame(t))
		expect(t, got, xdpDrop, got.frame, "DROP_NO_EGRESS")
	})
}

func TestPrivilegedAFrameCutShortAnywhereIsNeverForwarded(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	for _, f := range []flow{
		{protocol: dataplane.TCP}, {protocol: dataplane.UDP, v6: true},
		{protocol: dataplane.UDP, options: 40}, {protocol: dataplane.TCP, v6: true},
		{protocol: dataplane.TCP, v6: true, tags: []uint16{0x88a8, 0x8100}, behind: []layers.IPProtocol{hopByHop, atomicFragment}},
	} {
		frame := f.frame(t)
		headers := len(frame) - 64
		destination := 14 + 4*len(f.tags) + 20 // where it has been read
		if f.v6 {
			destination += 20
		}
		for length := 14; length < len(frame); length++ {
			cut := frame[:length]
			t.Run(fmt.Sprintf("%+v cut to %d bytes", f, length), func(t *testing.T) {
				switch {
				case length < destination:
					expect(t, h.send(cut), xdpPass, cut, "PASS_UNREADABLE")
				case length < headers:
					expect(t, h.send(cut), xdpDrop, cut, "DROP_UNREADABLE")
				default:
					expect(t, h.send(cut), xdpDrop, cut, "DROP_BAD_LENGTH")
				}
			})
		}
	}
}

func TestPrivilegedAnL2BackendTakesAPacketOfItsWholeMTU(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.L2, loopback)))
	index, _ := onlyBackend(t, h)
	fits := flow{protocol: dataplane.UDP, size: 1500 - 28}
	expect(t, h.send(fits.frame(t)), xdpTX, withMACs(t, fits), fmt.Sprintf("backend %d", index))
}

func TestPrivilegedCountersSayPacketsBytesAndNewFlows(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	index, _ := onlyBackend(t, h)
	h.send(flow{protocol: dataplane.TCP, size: 100}.frame(t))            // a SYN of 140 bytes
	h.send(flow{protocol: dataplane.TCP, ack: true, size: 60}.frame(t))  // 100
	h.send(flow{protocol: dataplane.UDP, v6: true, size: 152}.frame(t))  // 200
	h.send(edit(flow{protocol: dataplane.TCP}.frame(t), 14+20+13, 0x12)) // SYN and ACK: 104, no new flow
	counters, err := h.plane.Counters()
	if err != nil {
		t.Fatal(err)
	}
	want := dataplane.BackendCounters{Packets: 4, Bytes: 140 + 100 + 200 + 104, NewFlows: 1}
	if got := counters.Backends[index]; got != want {
		t.Errorf("counters are %+v, want %+v", got, want)
	}
}

func TestPrivilegedForwardedPacketsStayCountedWhenTheirBackendGoes(t *testing.T) {
	h := newHarness(t)
	web := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	h.want(web)
	index, _ := onlyBackend(t, h)
	for range 3 {
		h.send(flow{protocol: dataplane.TCP}.frame(t))
	}
	h.want()
	h.apply(dataplane.DeleteBackend{Index: index})
	h.want(web)
	h.send(flow{protocol: dataplane.TCP}.frame(t))
	counters, err := h.plane.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if got := counters.Outcomes["FORWARD"]; got != 4 {
		t.Errorf("%d packets were forwarded, want 4", got)
	}
}

func TestPrivilegedTheHashSpreadsFlowsEvenlyAndAlwaysAlike(t *testing.T) {
	h := newHarness(t)
	var backends []dataplane.Backend
	for i := range 4 {
		backends = append(backends, backendTo(netip.AddrFrom4([4]byte{203, 0, 113, byte(30 + i)}), dataplane.IPIP, loopback))
	}
	h.want(serviceOn("web", backends...))
	// Four standard deviations of 27, and 4 % for Maglev's own unevenness at 251 slots.
	flows, bound := 4000, 150
	if testing.Short() {
		flows, bound = 400, 40 // the same, of 9
	}
	for _, v6 := range []bool{false, true} {
		share := make(map[string]int)
		for client := range flows {
			f := flow{protocol: dataplane.TCP, v6: v6, client: uint16(1024 + client)}
			first, again := h.send(f.frame(t)), h.send(f.frame(t))
			if !bytes.Equal(first.frame, again.frame) {
				t.Fatalf("two packets of %+v went different ways", f)
			}
			for counter := range first.moved {
				share[counter]++
			}
		}
		for counter, n := range share {
			if off := n - flows/4; len(share) != 4 || max(off, -off) > bound {
				t.Errorf("IPv6 %v: %s got %d of %d flows, want about %d", v6, counter, n, flows, flows/4)
			}
		}
	}
}

// There are two slots, so what tells hundreds of flows apart cannot be the slot.
func TestPrivilegedTheEntropyOfOuterHeadersDoesNotFollowTheSlot(t *testing.T) {
	h := newHarness(t)
	for _, row := range []struct {
		name       string
		backend    dataplane.Backend
		flows      int
		likely     int // values that so many draws give: of 2^20 all, of 2^14 all but eight
		sourcePort bool
	}{
		{"the flow label of ipip", backendTo(backend6, dataplane.IPIP, loopback), 500, 498, false},
		{"the flow label of gue", backendTo(backend6, dataplane.GUE, loopback), 500, 498, false},
		{"the source port of gue over IPv4", backendTo(backend4, dataplane.GUE, loopback), 500, 470, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			service := serviceOn("web", row.backend)
			service.Slots = 2
			h.want(service)
			values := make(map[uint32]bool)
			for client := range row.flows {
				got := h.send(flow{protocol: dataplane.TCP, v6: true, client: uint16(2000 + client)}.frame(t))
				values[entropyOf(got.frame)] = true
				if row.sourcePort && binary.BigEndian.Uint16(got.frame[14+20:]) < 0xc000 {
					t.Fatal("the source port is not an ephemeral one")
				}
			}
			if len(values) < row.likely {
				t.Errorf("%d flows have %d values, want %d", row.flows, len(values), row.likely)
			}
		})
	}
}

// edit is the frame with one byte changed, and an IPv4 header's checksum mended
// so that nothing but the edit is wrong.
func edit(frame []byte, at int, value byte) []byte {
	edited := bytes.Clone(frame)
	edited[at] = value
	if binary.BigEndian.Uint16(edited[12:]) == 0x0800 {
		mendChecksum(edited[14:34])
	}
	return edited
}

func mendChecksum(header []byte) {
	binary.BigEndian.PutUint16(header[10:], 0)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum))
}

func ethernet(etherType uint16, size int) []byte {
	frame := append(bytes.Clone(balancerMAC), clientMAC...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	return append(frame, make([]byte, size)...)
}

// toMappedVIP is an IPv6 packet to the IPv4 VIP's mapped address.
func toMappedVIP(t *testing.T) []byte {
	to := vip4.As16()
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: client6.AsSlice(), DstIP: to[:]}
	tcp := &layers.TCP{SrcPort: 1234, DstPort: 80, SYN: true}
	tcp.SetNetworkLayerForChecksum(ip)
	eth := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC, EthernetType: layers.EthernetTypeIPv6}
	return serialize(t, eth, ip, tcp, gopacket.Payload(make([]byte, 64)))
}

func TestPrivilegedOfAllTCPFlagsThoseOfASegmentAreForwarded(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	const fin, syn, rst, ack = 1, 2, 4, 16
	for flags := range 256 {
		segment := edit(flow{protocol: dataplane.TCP}.frame(t), 14+20+13, byte(flags))
		possible := flags&(fin|syn|rst|ack) != 0 && flags&(syn|fin) != syn|fin && flags&(syn|rst) != syn|rst
		if got := h.send(segment); (got.verdict == xdpTX) != possible || possible != (got.moved["DROP_BAD_FLAGS"] == 0) {
			t.Errorf("flags %08b: verdict %d, counted as %v", flags, got.verdict, got.moved)
		}
	}
}
