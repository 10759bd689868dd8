package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// Addresses of the tests, from the documentation prefixes of RFC 5737 and RFC 3849.
var (
	client4  = netip.MustParseAddr("198.51.100.7")
	client6  = netip.MustParseAddr("2001:db8:7::7")
	vip4     = netip.MustParseAddr("192.0.2.10")
	vip6     = netip.MustParseAddr("2001:db8:10::10")
	backend4 = netip.MustParseAddr("203.0.113.21")
	backend6 = netip.MustParseAddr("2001:db8:20::21")
	source4  = netip.MustParseAddr("203.0.113.1")
	source6  = netip.MustParseAddr("2001:db8:20::1")

	clientMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 7}
	balancerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	egressMAC   = net.HardwareAddr{2, 0, 0, 0, 1, 1}
	nextHopMAC  = net.HardwareAddr{2, 0, 0, 0, 1, 21}
)

// flow is a packet of a client, in the terms of a test's row.
type flow struct {
	v6       bool
	protocol dataplane.Protocol
	port     uint16 // of the VIP; 0 means 80
	tos      uint8
	ack      bool // TCP: not a SYN
	size     int  // of the payload; 0 means 64, which needs no Ethernet padding
	options  int  // bytes of IPv4 options
	df       bool // IPv4: do not fragment
	client   uint16
	to       scattered           // in benchmarks: not to the VIP
	tags     []uint16            // types of the frame's tags, outer one first
	behind   []layers.IPProtocol // IPv6 extension headers
}

// frame is the flow's packet as it arrives at the balancer, checksums right.
func (f flow) frame(t testing.TB) []byte {
	t.Helper()
	frame := f.untagged(t)
	for i := len(f.tags) - 1; i >= 0; i-- {
		tag := binary.BigEndian.AppendUint16(nil, f.tags[i])
		frame = slices.Concat(frame[:12], tag, []byte{0x20, byte(7 + i)}, frame[12:])
	}
	return frame
}

func (f flow) untagged(t testing.TB) []byte {
	t.Helper()
	if f.port == 0 {
		f.port = 80
	}
	if f.client == 0 {
		f.client = 40000
	}
	if f.size == 0 {
		f.size = 64
	}
	network, etherType := f.network()
	stack := []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC, EthernetType: etherType},
		network.(gopacket.SerializableLayer),
	}
	switch f.protocol {
	case dataplane.TCP:
		tcp := &layers.TCP{
			SrcPort: layers.TCPPort(f.client), DstPort: layers.TCPPort(f.port),
			SYN: !f.ack, ACK: f.ack, Window: 1000, Seq: 1,
		}
		tcp.SetNetworkLayerForChecksum(network)
		stack = append(stack, tcp)
	case dataplane.UDP:
		udp := &layers.UDP{SrcPort: layers.UDPPort(f.client), DstPort: layers.UDPPort(f.port)}
		udp.SetNetworkLayerForChecksum(network)
		stack = append(stack, udp)
	}
	frame := serialize(t, append(stack, gopacket.Payload(make([]byte, f.size)))...)
	for i := len(f.behind) - 1; i >= 0; i-- {
		frame = behind(frame, f.behind[i])
	}
	return frame
}

// behind is an IPv6 frame with one more extension header, before all others. It
// says what is of no interest to the balancer; a fragment header is an atomic one.
func behind(frame []byte, protocol layers.IPProtocol) []byte {
	header := make([]byte, 16)
	header[1] = 1
	switch protocol {
	case layers.IPProtocolIPv6Fragment:
		header = header[:8]
		header[1] = 0
	case layers.IPProtocolAH:
		header[1] = 2
	}
	header[0] = frame[14+6]
	longer := slices.Concat(frame[:14+40], header, frame[14+40:])
	longer[14+6] = byte(protocol)
	binary.BigEndian.PutUint16(longer[14+4:], binary.BigEndian.Uint16(frame[14+4:])+uint16(len(header)))
	return longer
}

func (f flow) network() (gopacket.NetworkLayer, layers.EthernetType) {
	if f.v6 {
		return &layers.IPv6{
			Version: 6, TrafficClass: f.tos, FlowLabel: 0x12345, HopLimit: 57,
			NextHeader: layers.IPProtocol(f.protocol), SrcIP: client6.AsSlice(), DstIP: vip6.AsSlice(),
		}, layers.EthernetTypeIPv6
	}
	ip := &layers.IPv4{
		Version: 4, TOS: f.tos, Id: 4711, TTL: 57,
		Protocol: layers.IPProtocol(f.protocol), SrcIP: client4.AsSlice(), DstIP: vip4.AsSlice(),
	}
	if f.df {
		ip.Flags = layers.IPv4DontFragment
	}
	for range f.options {
		ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1}) // no operation
	}
	return ip, layers.EthernetTypeIPv4
}

func serialize(t testing.TB, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, options, stack...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// tunnelled is what a backend should receive: the client's packet to the byte,
// behind outer headers that another implementation has made. Their entropy is
// the program's choice.
func tunnelled(t *testing.T, f flow, to dataplane.BackendEntry, entropy uint32) []byte {
	t.Helper()
	inner, padding := f.packet(t)
	return wrapped(t, inner, padding, f.v6, f.tos, to, entropy)
}

func wrapped(t *testing.T, inner, padding []byte, v6 bool, tos uint8, to dataplane.BackendEntry, entropy uint32) []byte {
	t.Helper()
	protocol := layers.IPProtocolIPv4
	if v6 {
		protocol = layers.IPProtocolIPv6
	}
	if to.Forward == dataplane.GUE {
		inner, protocol = inGUE(t, inner, protocol, entropy), layers.IPProtocolUDP
	}
	eth := &layers.Ethernet{SrcMAC: egressMAC, DstMAC: nextHopMAC}
	if to.OuterFamilyV6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		return append(serialize(t, eth, &layers.IPv6{
			Version: 6, TrafficClass: tos, FlowLabel: entropy, HopLimit: 64, NextHeader: protocol,
			SrcIP: source6.AsSlice(), DstIP: to.Addr.AsSlice(),
		}, gopacket.Payload(inner)), padding...)
	}
	eth.EthernetType = layers.EthernetTypeIPv4
	return append(serialize(t, eth, &layers.IPv4{
		Version: 4, TOS: tos, Flags: layers.IPv4DontFragment, TTL: 64, Protocol: protocol,
		SrcIP: source4.AsSlice(), DstIP: to.Addr.AsSlice(),
	}, gopacket.Payload(inner)), padding...)
}

// inGUE is a packet in UDP without a checksum, and GUE variant 0 without options.
func inGUE(t *testing.T, packet []byte, protocol layers.IPProtocol, entropy uint32) []byte {
	t.Helper()
	gue := append([]byte{0, byte(protocol), 0, 0}, packet...)
	udp := &layers.UDP{SrcPort: layers.UDPPort(0xc000 | entropy&0x3fff), DstPort: 6080, Length: uint16(8 + len(gue))}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{}, udp, gopacket.Payload(gue)); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// packet is the IP packet of the frame, and the Ethernet padding behind it.
func (f flow) packet(t testing.TB) (packet, padding []byte) {
	t.Helper()
	frame := f.untagged(t)[14:]
	length := int(binary.BigEndian.Uint16(frame[2:]))
	if f.v6 {
		length = 40 + int(binary.BigEndian.Uint16(frame[4:]))
	}
	return frame[:length], frame[length:]
}

// entropyOf reads what tells flows apart in a frame's outer headers: 20 bits of an
// IPv6 flow label, 14 of a UDP port over IPv4.
func entropyOf(frame []byte) uint32 {
	if binary.BigEndian.Uint16(frame[12:]) == 0x0800 {
		return uint32(binary.BigEndian.Uint16(frame[14+20:])) & 0x3fff
	}
	return binary.BigEndian.Uint32(frame[14:]) & 0xfffff
}

// withMACs is the packet unchanged but for its MACs, as l2 sends it.
func withMACs(t *testing.T, f flow) []byte {
	t.Helper()
	frame := f.untagged(t)
	copy(frame, nextHopMAC)
	copy(frame[6:], egressMAC)
	return frame
}

// backendTo is a backend with everything resolved, behind an interface.
func backendTo(addr netip.Addr, forward dataplane.Forward, ifindex uint32) dataplane.Backend {
	source := source4
	if addr.Is6() {
		source = source6
	}
	return dataplane.Backend{
		ID:      dataplane.ID{Addr: addr},
		Weight:  1,
		Forward: forward,
		Hop: dataplane.Hop{
			Interface: ifindex, EgressMAC: [6]byte(egressMAC), NextHopMAC: [6]byte(nextHopMAC),
			Source: source, MTU: 1500,
		},
	}
}

// serviceOn is a service with TCP and UDP VIPs of both families on port 80.
func serviceOn(name string, backends ...dataplane.Backend) dataplane.Service {
	service := dataplane.Service{Name: name, Slots: 251, Backends: backends}
	for _, addr := range []netip.Addr{vip4, vip6} {
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			service.VIPs = append(service.VIPs, dataplane.VIP{Addr: addr, Port: 80, Protocol: protocol})
		}
	}
	return service
}
