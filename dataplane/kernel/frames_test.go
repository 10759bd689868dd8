package kernel

import (
	"cmp"
	"net"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
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
	ack      bool   // TCP: not a SYN
	size     int    // of the payload; 0 means 64, which needs no Ethernet padding
	options  int    // bytes of IPv4 options
	client   uint16
	to       scattered // in benchmarks: not to the VIP
}

// frame is the flow's packet as it arrives at the balancer, checksums right.
func (f flow) frame() []byte {
	from, to := cmp.Or(f.client, clientPort), cmp.Or(f.port, 80)
	payload := make([]byte, cmp.Or(f.size, 64))
	ip := ip4(options(f.options))
	if f.v6 {
		ip = ip6()
	}
	if f.protocol == dataplane.UDP {
		return frame(ip, segment{packet.UDPIP, packet.UDP(from, to, payload)})
	}
	flags := uint8(packet.SYN)
	if f.ack {
		flags = packet.ACK
	}
	return frame(ip, segment{packet.TCPIP, packet.TCP(from, to, flags, nil, payload)})
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
