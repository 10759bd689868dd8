package kernel

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// talk is a packet of a connection, by what NAT changes and what it reads.
type talk struct {
	from, to netip.AddrPort
	protocol dataplane.Protocol
	flags    string // of TCP: S, A, F, R
	seq, ack uint32
	hops     uint8 // 0 means 64
	payload  string
	macs     [2]string // source and destination; "" are the client's and the balancer's
	noSum    bool      // UDP without a checksum
}

func (p talk) frame(t testing.TB) []byte {
	t.Helper()
	ethernet := &layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC, EthernetType: layers.EthernetTypeIPv4}
	if p.macs != [2]string{} {
		ethernet.SrcMAC, ethernet.DstMAC = net.HardwareAddr(p.macs[0]), net.HardwareAddr(p.macs[1])
	}
	if p.hops == 0 {
		p.hops = 64
	}
	var network gopacket.NetworkLayer = &layers.IPv4{
		Version: 4, TTL: p.hops, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocol(p.protocol),
		SrcIP: p.from.Addr().AsSlice(), DstIP: p.to.Addr().AsSlice(),
	}
	if p.from.Addr().Is6() {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		network = &layers.IPv6{
			Version: 6, HopLimit: p.hops, NextHeader: layers.IPProtocol(p.protocol),
			SrcIP: p.from.Addr().AsSlice(), DstIP: p.to.Addr().AsSlice(),
		}
	}
	transport := p.transport(network)
	buffer := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		ethernet, network.(gopacket.SerializableLayer), transport, gopacket.Payload(p.payload))
	if err != nil {
		t.Fatal(err)
	}
	frame := bytes.Clone(buffer.Bytes())
	if p.noSum {
		udp := 14 + 20
		if p.from.Addr().Is6() {
			udp = 14 + 40
		}
		copy(frame[udp+6:], []byte{0, 0})
	}
	return frame
}

func (p talk) transport(network gopacket.NetworkLayer) gopacket.SerializableLayer {
	if p.protocol == dataplane.UDP {
		udp := &layers.UDP{SrcPort: layers.UDPPort(p.from.Port()), DstPort: layers.UDPPort(p.to.Port())}
		udp.SetNetworkLayerForChecksum(network)
		return udp
	}
	has := func(flag string) bool { return bytes.Contains([]byte(p.flags), []byte(flag)) }
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(p.from.Port()), DstPort: layers.TCPPort(p.to.Port()), Window: 1000, Seq: p.seq, Ack: p.ack,
		SYN: has("S"), ACK: has("A"), FIN: has("F"), RST: has("R"),
	}
	tcp.SetNetworkLayerForChecksum(network)
	return tcp
}

// hear reads a frame back. It fails where the frame is not, byte by byte, what a
// talk makes: all checksums are right then.
func hear(t testing.TB, frame []byte) talk {
	t.Helper()
	heard := overhear(frame)
	// RFC 7915 writes DF and identification as the length wants: not a talk's to say.
	if want := heard.frame(t); !bytes.Equal(withoutFragmentation(frame), withoutFragmentation(want)) {
		t.Fatalf("the frame\n%x should be\n%x", frame, want)
	}
	return heard
}

// withoutFragmentation blanks an IPv4 header's second word and its sum, and cuts
// the frame's padding off.
func withoutFragmentation(frame []byte) []byte {
	frame = bytes.Clone(frame)
	if frame[12] != 8 {
		return frame[:min(len(frame), 14+40+int(binary.BigEndian.Uint16(frame[14+4:])))]
	}
	frame = frame[:min(len(frame), 14+int(binary.BigEndian.Uint16(frame[14+2:])))]
	if frame[13] == 0 {
		if ^sum16(frame[14:34]) != 0 {
			return nil
		}
		copy(frame[18:22], make([]byte, 4))
		copy(frame[24:26], make([]byte, 2))
	}
	return frame
}

// sum16 is RFC 1071's sum.
func sum16(bytes []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(bytes); i += 2 {
		sum += uint32(bytes[i])<<8 | uint32(bytes[i+1])
	}
	if len(bytes)%2 == 1 {
		sum += uint32(bytes[len(bytes)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// overhear reads a frame, and looks at no checksum.
func overhear(frame []byte) talk {
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	var heard talk
	var from, to netip.Addr
	ethernet := packet.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	heard.macs = [2]string{string(ethernet.SrcMAC), string(ethernet.DstMAC)}
	switch ip := packet.NetworkLayer().(type) {
	case *layers.IPv4:
		from, _ = netip.AddrFromSlice(ip.SrcIP)
		to, _ = netip.AddrFromSlice(ip.DstIP)
		heard.hops, heard.protocol = ip.TTL, dataplane.Protocol(ip.Protocol)
	case *layers.IPv6:
		from, _ = netip.AddrFromSlice(ip.SrcIP)
		to, _ = netip.AddrFromSlice(ip.DstIP)
		heard.hops, heard.protocol = ip.HopLimit, dataplane.Protocol(ip.NextHeader)
	}
	switch transport := packet.TransportLayer().(type) {
	case *layers.TCP:
		heard.from = netip.AddrPortFrom(from, uint16(transport.SrcPort))
		heard.to = netip.AddrPortFrom(to, uint16(transport.DstPort))
		heard.seq, heard.ack, heard.payload = transport.Seq, transport.Ack, string(transport.Payload)
		for _, flag := range []struct {
			name string
			set  bool
		}{{"S", transport.SYN}, {"F", transport.FIN}, {"R", transport.RST}, {"A", transport.ACK}} {
			if flag.set {
				heard.flags += flag.name
			}
		}
	case *layers.UDP:
		heard.from = netip.AddrPortFrom(from, uint16(transport.SrcPort))
		heard.to = netip.AddrPortFrom(to, uint16(transport.DstPort))
		heard.payload, heard.noSum = string(transport.Payload), transport.Checksum == 0
	}
	return heard
}
