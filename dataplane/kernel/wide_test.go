package kernel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/pointsman/pointsman/dataplane"
)

// wideVIP is a random prefix around an address of the tests, with ports from one
// on: one, a range, or any.
func wideVIP(random *rand.Rand, port uint16) dataplane.VIP {
	vip := dataplane.VIP{Addr: []netip.Addr{vip4, vip6}[random.IntN(2)], Port: port, Protocol: []dataplane.Protocol{dataplane.TCP, dataplane.UDP}[random.IntN(2)]}
	vip.HostBits = uint8(random.IntN(vip.Addr.BitLen() + 1))
	if random.IntN(2) == 0 {
		vip.HostBits = uint8(random.IntN(5))
	}
	vip.Addr = vip.Addresses().Masked().Addr()
	switch random.IntN(4) {
	case 0:
		vip.Port, vip.LastPort = dataplane.AnyPort, dataplane.LastOfAnyPort
	case 1, 2:
		vip.LastPort = vip.Port + uint16(1+random.IntN(20))
	default:
		vip.HostBits = max(vip.HostBits, 1) // else it would be no wide one
		vip.Addr = vip.Addresses().Masked().Addr()
	}
	return vip
}

// frameTo is a packet from the tests' client to an exact VIP.
func frameTo(t testing.TB, to dataplane.VIP, payload []byte) []byte {
	t.Helper()
	protocol := layers.IPProtocol(to.Protocol)
	etherType, from := layers.EthernetTypeIPv4, client4
	var network gopacket.NetworkLayer = &layers.IPv4{Version: 4, TTL: 57, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.Addr.AsSlice()}
	if to.Addr.Is6() {
		etherType, from = layers.EthernetTypeIPv6, client6
		network = &layers.IPv6{Version: 6, HopLimit: 57, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.Addr.AsSlice()}
	}
	var transport gopacket.SerializableLayer
	if to.Protocol == dataplane.TCP {
		tcp := &layers.TCP{SrcPort: 40000, DstPort: layers.TCPPort(to.Port), ACK: true, Window: 1000}
		tcp.SetNetworkLayerForChecksum(network)
		transport = tcp
	} else {
		udp := &layers.UDP{SrcPort: 40000, DstPort: layers.UDPPort(to.Port)}
		udp.SetNetworkLayerForChecksum(network)
		transport = udp
	}
	return serialize(t, &layers.Ethernet{SrcMAC: clientMAC, DstMAC: balancerMAC, EthernetType: etherType},
		network.(gopacket.SerializableLayer), transport, gopacket.Payload(payload))
}

// near is an exact VIP around those of wideVIP.
func near(random *rand.Rand) dataplane.VIP {
	to := dataplane.VIP{Addr: []netip.Addr{vip4, vip6}[random.IntN(2)], Protocol: []dataplane.Protocol{dataplane.TCP, dataplane.UDP}[random.IntN(2)]}
	bytes := to.Addr.AsSlice()
	bytes[len(bytes)-1] += byte(random.IntN(9)) - 4
	if random.IntN(4) == 0 {
		bytes[random.IntN(len(bytes))] ^= 1 << random.IntN(8)
	}
	to.Addr, _ = netip.AddrFromSlice(bytes)
	to.Port = uint16(100*random.IntN(4) + 50 + random.IntN(24))
	if random.IntN(5) == 0 {
		to.Port = uint16(random.IntN(65536))
	}
	return to
}

func TestPrivilegedThePacketGoesToTheMostSpecificVIP(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t)
	found, passed := 0, 0
	for range 30 {
		var services []dataplane.Service
		seen := map[dataplane.VIP]bool{}
		for n := range 8 {
			backend := backendTo(backend4, dataplane.L2, loopback)
			backend.Hop.NextHopMAC = [6]byte{2, 0, 0, 0, 9, byte(n)}
			service := dataplane.Service{Name: fmt.Sprintf("s%d", n), Slots: 251, Backends: []dataplane.Backend{backend}}
			for range 3 {
				vip := wideVIP(random, uint16(100*random.IntN(4)+50+random.IntN(10)))
				if random.IntN(6) == 0 {
					vip = near(random)
				}
				if blocks := dataplane.Blocks([]dataplane.VIP{vip}); !anyOf(seen, blocks) {
					service.VIPs = append(service.VIPs, vip)
				}
			}
			services = append(services, service)
		}
		h.want(services...)
		for range 200 {
			to := near(random)
			_, entry, isVIP := h.tables.Find(to)
			frame := frameTo(t, to, make([]byte, 64))
			got := h.send(frame)
			if !isVIP {
				passed++
				if got.verdict != xdpPass || got.moved["PASS_NOT_VIP"] != 1 {
					t.Fatalf("seed %d: %s is no VIP, and got verdict %d, %v", seed, to, got.verdict, got.moved)
				}
				continue
			}
			found++
			name := h.tables.Services[entry.Service].Name
			if want := name[1] - '0'; got.verdict != xdpTX || got.frame[5] != want {
				t.Fatalf("seed %d: %s is of %s, and got verdict %d, %v, to %x", seed, to, name, got.verdict, got.moved, got.frame[:6])
			}
		}
	}
	if found < 500 || passed < 500 {
		t.Errorf("%d packets were for VIPs and %d were not", found, passed)
	}
}

// anyOf tells whether one of the VIPs was seen, and else notes them.
func anyOf(seen map[dataplane.VIP]bool, vips []dataplane.VIP) bool {
	for _, vip := range vips {
		if seen[vip] {
			return true
		}
	}
	for _, vip := range vips {
		seen[vip] = true
	}
	return false
}
