package kernel

import (
	"fmt"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

func TestPrivilegedEveryKindOfPacketTakesEveryWay(t *testing.T) {
	kinds := []struct {
		says  string
		frame func(to uint16) []byte
	}{
		{"a SYN over IPv4", func(to uint16) []byte { return frame(ip4(), syn(to)) }},
		{"a segment over IPv4", func(to uint16) []byte { return frame(ip4(), tcpTo(to, packet.ACK, 1000)) }},
		{"a datagram over IPv4", func(to uint16) []byte { return frame(ip4(df), udp(to, 64)) }},
		{"a SYN over IPv6", func(to uint16) []byte { return frame(ip6(), syn(to)) }},
		{"a segment over IPv6", func(to uint16) []byte { return frame(ip6(), tcpTo(to, packet.ACK, 1000)) }},
		{"a datagram over IPv6", func(to uint16) []byte { return frame(ip6(), udp(to, 64)) }},
		{"DSCP EF and ECT(0) over IPv4", func(to uint16) []byte { return frame(ip4(tos(46<<2|2)), syn(to)) }},
		{"DSCP EF and CE over IPv6", func(to uint16) []byte { return frame(ip6(tos(46<<2|3)), udp(to, 64)) }},
		{"all bits of TOS over IPv4", func(to uint16) []byte { return frame(ip4(tos(0xff)), udp(to, 64)) }},
		{"a TTL of one", func(to uint16) []byte { return frame(ip4(ttl(1)), syn(to)) }},
		{"40 bytes of options", func(to uint16) []byte { return frame(ip4(options(40)), syn(to)) }},
		{"4 bytes of options", func(to uint16) []byte { return frame(ip4(options(4)), udp(to, 64)) }},
		{"a hop-by-hop header", func(to uint16) []byte { return frame(ip6(chained(hopHeader)), syn(to)) }},
		{"a routing header that is used up", func(to uint16) []byte { return frame(ip6(chained(packet.RoutingHeader(0))), udp(to, 64)) }},
		{"destination options of 256 bytes", func(to uint16) []byte { return frame(ip6(chained(packet.OptionsHeader(packet.Options, 31))), syn(to)) }},
		{"an authentication header", func(to uint16) []byte { return frame(ip6(chained(packet.AHHeader(3))), syn(to)) }},
		{"an atomic fragment is no fragment", func(to uint16) []byte { return frame(ip6(chained(atomicHeader)), udp(to, 64)) }},
		{"a one-byte datagram in a padded frame", func(to uint16) []byte { return frame(ip4(), udp(to, 1)) }},
		{"an odd-sized segment", func(to uint16) []byte { return frame(ip4(), tcpTo(to, packet.ACK, 333)) }},
		{"six extension headers", func(to uint16) []byte { return frame(ip6(chained(six...)), udp(to, 64)) }},
		{"options in a VLAN", func(to uint16) []byte { return frame(ip4(options(40)), syn(to), service300) }},
		{"a routing header in two VLANs", func(to uint16) []byte {
			return frame(ip6(chained(packet.RoutingHeader(0))), tcpTo(to, packet.ACK, 64), vlan7, vlan8)
		}},
		{"a packet in a VLAN leaves without that tag", func(to uint16) []byte { return frame(ip4(), syn(to), vlan7) }},
		{"a packet in a provider's VLAN leaves without both", func(to uint16) []byte { return frame(ip6(), data(to), service300, vlan8) }},
		{"a priority tag", func(to uint16) []byte {
			return frame(ip4(options(8)), udp(to, 64), packet.Tag{Type: packet.TypeTag, TCI: 6 << 13})
		}},
	}
	var promises []promise
	for port, way := range stageWays {
		for _, kind := range kinds {
			promises = append(promises, promise{says: fmt.Sprintf("%s, %s", kind.says, way), frame: kind.frame(port), fate: goesTo(port)})
		}
	}
	keep(t, promises)
}

func (w way) String() string {
	text := fmt.Sprintf("%s to %s", w.forward, w.addr)
	if w.port != 0 {
		text += fmt.Sprintf(" on port %d", w.port)
	}
	if w.away {
		text += " over another interface"
	}
	return text + vlanNames[w.vlan]
}

var vlanNames = map[[2]uint16]string{
	{customer}: " in a VLAN", {provider, customer}: " in a provider's VLAN", {provider}: " with a service tag",
	{3<<13 | 200, 1<<13 | customer}: " in a VLAN within a VLAN, with priorities", {7<<13 | 4094}: " in a VLAN with priority 7", {5 << 13}: " with a priority and no VLAN",
}

func TestPrivilegedAPacketThatJustFitsIsForwarded(t *testing.T) {
	var promises []promise
	for port, way := range stageWays {
		room := backendMTU - way.overhead()
		promises = append(promises,
			promise{says: fmt.Sprintf("IPv4, %s", way), frame: frame(ip4(df), udp(port, room-28)), fate: goesTo(port)},
			promise{says: fmt.Sprintf("IPv6, %s", way), frame: frame(ip6(), udp(port, room-48)), fate: goesTo(port)},
		)
	}
	keep(t, promises)
}

const backendMTU = 1500

// overhead is what the way's headers take of the path's MTU.
func (w way) overhead() int {
	size := 20
	if w.addr.Is6() {
		size = 40
	}
	switch w.forward {
	case dataplane.L2:
		return 0
	case dataplane.GUE:
		if w.port != 0 {
			size += 4
		}
		return size + 8 + 4
	}
	return size
}
