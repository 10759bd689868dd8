package kernel

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
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
func frameTo(vip dataplane.VIP, payload []byte) []byte {
	ip := ip4(to(vip.Addr.String()))
	if vip.Addr.Is6() {
		ip = ip6(to(vip.Addr.String()))
	}
	if vip.Protocol == dataplane.TCP {
		return frame(ip, segment{packet.TCPIP, packet.TCP(clientPort, vip.Port, packet.ACK, nil, payload)})
	}
	return frame(ip, segment{packet.UDPIP, packet.UDP(clientPort, vip.Port, payload)})
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
			frame := frameTo(to, make([]byte, 64))
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
