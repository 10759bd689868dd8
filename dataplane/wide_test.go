package dataplane_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// wideVIP reads "192.0.2.0/28 400-499", "2001:db8::/126 *".
func wideVIP(prefix, ports string, protocol Protocol) VIP {
	p := netip.MustParsePrefix(prefix)
	vip := VIP{Addr: p.Addr(), Protocol: protocol, Wide: Wide{HostBits: uint8(p.Addr().BitLen() - p.Bits())}}
	if ports == "*" {
		vip.Port, vip.LastPort = AnyPort, LastOfAnyPort
		return vip
	}
	if n, _ := fmt.Sscanf(ports, "%d-%d", &vip.Port, &vip.LastPort); n == 0 {
		panic(ports)
	}
	return vip
}

// wideVIPs lie within one another, around the exact ones of vipNumber.
var wideVIPs = []VIP{
	wideVIP("192.0.2.0/28", "443", TCP),
	wideVIP("192.0.2.0/28", "441-445", TCP),
	wideVIP("192.0.2.0/28", "*", TCP),
	wideVIP("192.0.2.0/30", "443", TCP),
	wideVIP("192.0.2.0/30", "*", TCP),
	wideVIP("192.0.2.2/31", "440-443", UDP),
	wideVIP("192.0.2.2/32", "*", UDP),
	wideVIP("192.0.2.4/32", "442-443", TCP),
	wideVIP("2001:db8::/126", "443", TCP),
	wideVIP("2001:db8::/32", "*", TCP),
	wideVIP("2001:db8::1/128", "440-450", UDP),
}

// probes are exact VIPs around the edges of all of those.
func probes() []VIP {
	var all []VIP
	for i := range 6 {
		v4, v6 := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i))
		for _, port := range []uint16{0, 440, 442, 443, 446, 65535} {
			for _, protocol := range protocols {
				all = append(all, VIP{Addr: v4, Port: port, Protocol: protocol}, VIP{Addr: v6, Port: port, Protocol: protocol})
			}
		}
	}
	return all
}

// between says which packet is for a VIP that it was not for and will not be for.
func between(old, now, next *Tables) string {
	for _, probe := range probes() {
		vip, _, found := now.Find(probe)
		was, _, before := old.Find(probe)
		will, _, after := next.Find(probe)
		if (found != before || vip != was) && (found != after || vip != will) {
			return fmt.Sprintf("%s is %s (%t), and it was %s (%t) and will be %s (%t)", probe, vip, found, was, before, will, after)
		}
	}
	return ""
}

// misnamed says which QUIC ID leads to what is not a living backend of its service.
func misnamed(now *Tables) string {
	for key, index := range now.QUICIDs {
		backend, known := now.Backends[index]
		if !known || backend.Dead || now.Services[backend.Service].Name != now.Services[key.Service].Name {
			return fmt.Sprintf("%s leads to backend %d, %+v", key, index, backend)
		}
	}
	return ""
}

// narrow says what keeps the program from seeing exactly these wide VIPs.
func narrow(held *Tables, vips map[VIP]bool) string {
	prefixes := make(map[Prefix]bool)
	for vip := range vips {
		if vip.IsWide() {
			prefixes[vip.Prefix()] = true
		}
	}
	if held.SeesWide != (len(prefixes) > 0) || !maps.Equal(held.Prefixes, prefixes) {
		return fmt.Sprintf("wide VIPs are looked for (%t) in %v", held.SeesWide, held.Prefixes)
	}
	return ""
}

// mostSpecific is what the file promises: the longest prefix that has the port
// decides, and in it one port before a range before any port.
func mostSpecific(vips []VIP, probe VIP) (best VIP, found bool) {
	rank := func(v VIP) int {
		ports := 2
		if v.HasAnyPort() {
			ports = 3
		} else if v.LastPort == 0 {
			ports = 1
		}
		return int(v.HostBits)*4 + ports
	}
	for _, vip := range vips {
		if vip.Covers(probe) && (!found || rank(vip) < rank(best)) {
			best, found = vip, true
		}
	}
	return best, found
}

// drawWide draws VIPs of few prefixes and ports. Ranges of one prefix do not overlap.
func drawWide(draw chance) []VIP {
	var vips []VIP
	seen := make(map[VIP]bool)
	for range 1 + draw(20) {
		vip := VIP{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(draw(8))}), Protocol: protocols[draw(2)]}
		if draw(2) == 0 {
			vip.Addr = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", draw(8)))
		}
		vip.HostBits = uint8(draw(vip.Addr.BitLen() + 1))
		if draw(2) == 0 {
			vip.HostBits = uint8(draw(4))
		}
		vip.Addr = vip.Addresses().Masked().Addr()
		switch draw(4) {
		case 0:
			vip.Port, vip.LastPort = AnyPort, LastOfAnyPort
		case 1:
			vip.Port = uint16(1 + draw(20))
		default:
			vip.Port = uint16(1 + draw(20))
			vip.LastPort = vip.Port + uint16(1+draw(9))
			if draw(8) == 0 {
				vip.LastPort = 65535
			}
		}
		overlaps := slices.ContainsFunc(vips, func(other VIP) bool {
			return vip.Prefix() == other.Prefix() && !vip.HasAnyPort() && !other.HasAnyPort() &&
				vip.LastPort > 0 && other.LastPort > 0 && vip.Port <= other.LastPort && other.Port <= vip.LastPort
		})
		if !overlaps && !seen[vip] {
			seen[vip] = true
			vips = append(vips, vip)
		}
	}
	return vips
}

// wideProbe is a packet near the VIPs of drawWide.
func wideProbe(draw chance) VIP {
	probe := VIP{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(draw(10))}), Protocol: protocols[draw(2)], Port: uint16(draw(33))}
	if draw(2) == 0 {
		probe.Addr = netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", draw(10)))
	}
	switch draw(8) {
	case 0:
		probe.Port = 65535 - uint16(draw(3))
	case 1:
		probe.Addr = netip.MustParseAddr("198.51.100.1")
	case 2:
		probe.Addr = netip.MustParseAddr("3fff::1")
	}
	return probe
}

// checkMostSpecific gives each VIP a service of its own and looks for packets.
func checkMostSpecific(t *testing.T, draw chance) {
	t.Helper()
	vips := drawWide(draw)
	var want State
	for i, vip := range vips {
		s := with(service(fmt.Sprintf("s%02d", i), 0, i), func(s *Service) { s.VIPs = []VIP{vip} })
		want.Services = append(want.Services, s)
	}
	have := NewTables(Limits{Services: 50, VIPs: 2000, Backends: 50}, 1000)
	bring(t, have, want)
	for range 200 {
		probe := wideProbe(draw)
		best, found := mostSpecific(vips, probe)
		vip, entry, seen := have.Find(probe)
		if seen != found || found && (!vip.Covers(probe) || have.Services[entry.Service].Name != want.Services[slices.Index(vips, best)].Name) {
			t.Fatalf("%s is found as %s (%t), and is %s (%t) of %v", probe, vip, seen, best, found, vips)
		}
	}
}

func TestThePacketIsForTheMostSpecificVIP(t *testing.T) {
	draw := fromSeed(t)
	for range 200 {
		checkMostSpecific(t, draw)
	}
}

func FuzzMostSpecific(f *testing.F) {
	f.Add([]byte{3, 1, 0, 1, 0, 0, 2, 200, 10})
	f.Fuzz(func(t *testing.T, data []byte) { checkMostSpecific(t, fromBytes(data)) })
}

func TestARangeIsHeldAsBlocksThatCoverIt(t *testing.T) {
	draw := fromSeed(t)
	for range 500 {
		first := uint16(1 + draw(65535))
		last := first + uint16(draw(65536-int(first)))
		vip := VIP{Addr: netip.MustParseAddr("192.0.2.1"), Port: first, Protocol: TCP, Wide: Wide{LastPort: last}}
		next := uint32(first)
		blocks := Blocks([]VIP{vip})
		for _, block := range blocks {
			size := uint32(block.LastPort) - uint32(block.Port) + 1
			if uint32(block.Port) != next || size&(size-1) != 0 || next%size != 0 {
				t.Fatalf("%s is held as %v", vip, blocks)
			}
			next += size
		}
		if next != uint32(last)+1 || len(blocks) > 30 {
			t.Fatalf("%s is held as %v", vip, blocks)
		}
	}
}

func TestAWideVIPIsWrittenAsAFileWritesIt(t *testing.T) {
	for want, vip := range map[string]VIP{
		"192.0.2.0/28:443/tcp":          wideVIP("192.0.2.0/28", "443", TCP),
		"192.0.2.4:442-443/tcp":         wideVIP("192.0.2.4/32", "442-443", TCP),
		"[2001:db8::]/32:*/tcp":         wideVIP("2001:db8::/32", "*", TCP),
		"[2001:db8::1]:440-450/udp":     wideVIP("2001:db8::1/128", "440-450", UDP),
		"0.0.0.0/0:*/udp":               wideVIP("0.0.0.0/0", "*", UDP),
		"192.0.2.0/24:1-65535/tcp":      wideVIP("192.0.2.0/24", "1-65535", TCP),
		"[2001:db8::]/64:8000-8000/tcp": wideVIP("2001:db8::/64", "8000-8000", TCP),
	} {
		if got := vip.String(); got != want {
			t.Errorf("%+v is %q instead of %q", vip, got, want)
		}
	}
}

func TestAWideVIPThatCannotBeHeldIsAProblem(t *testing.T) {
	for text, vip := range map[string]VIP{
		"bits set beyond its prefix":           {Addr: netip.MustParseAddr("192.0.2.1"), Port: 80, Protocol: TCP, Wide: Wide{HostBits: 8}},
		"more free bits":                       {Addr: netip.MustParseAddr("0.0.0.0"), Port: 80, Protocol: TCP, Wide: Wide{HostBits: 33}},
		"a range of ports from 0 on":           {Addr: netip.MustParseAddr("192.0.2.1"), Protocol: TCP, Wide: Wide{LastPort: 80}},
		"a range of ports that ends before it": {Addr: netip.MustParseAddr("192.0.2.1"), Port: 81, Protocol: TCP, Wide: Wide{LastPort: 80}},
	} {
		s := with(service("web", 0, 0), func(s *Service) { s.VIPs = []VIP{vip} })
		steps, problems := Diff(NewTables(roomy, 100), State{Services: []Service{s}})
		if len(problems) != 1 || len(steps) > 0 || !contains(problems[0].Text, text) {
			t.Errorf("%+v: got %d steps and the problems %q, not %q", vip, len(steps), problems, text)
		}
	}
}
