package kernel

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// The specialWays are those of services whose VIPs are wide, or whose packets name
// their backends. Each backend has an address of its own.
const (
	wideOuter  uint16 = 60000 + iota // 192.0.2.128/26 ports 8000-8999, 2001:db8:10:0:1::/80 any port
	wideInner                        // 192.0.2.134 any port, 192.0.2.144/28 port 8080, 2001:db8:10:0:1:2::/96 ports 8000-8999
	wideExact                        // 192.0.2.136 port 8500, 2001:db8:10:0:1:2::5 port 8500
	quicByFlow                       // port 443 of both VIPs: the one backend that gets what names nobody
	quicNamed                        // the same: its connection IDs have "b2" in them, and it drains
	narrow                           // UDP of both VIPs on the port of this number, over a path of narrowMTU
)

var specialWays = map[uint16]way{
	wideOuter:  {forward: dataplane.IPIP, addr: netip.MustParseAddr("203.0.113.31")},
	wideInner:  {forward: dataplane.GUE, addr: netip.MustParseAddr("2001:db8:20::32")},
	wideExact:  {forward: dataplane.L2, addr: netip.MustParseAddr("203.0.113.33")},
	quicByFlow: {forward: dataplane.IPIP, addr: netip.MustParseAddr("203.0.113.34")},
	quicNamed:  {forward: dataplane.GUE, addr: netip.MustParseAddr("203.0.113.35")},
	narrow:     {forward: dataplane.IPIP, addr: netip.MustParseAddr("203.0.113.36")},
}

const narrowMTU = 120

func specialServices() []dataplane.Service {
	backend := func(to uint16) dataplane.Backend {
		return backendTo(specialWays[to].addr, specialWays[to].forward, loopback)
	}
	service := func(name string, to uint16, vips ...dataplane.VIP) dataplane.Service {
		return dataplane.Service{Name: name, Slots: 13, VIPs: vips, Backends: []dataplane.Backend{backend(to)}}
	}
	const tcp, udp = dataplane.TCP, dataplane.UDP
	const anyPort, last = dataplane.AnyPort, dataplane.LastOfAnyPort
	outer := service("wide-outer", wideOuter,
		spread("192.0.2.128/26", 8000, 8999, tcp), spread("192.0.2.128/26", 8000, 8999, udp),
		spread("2001:db8:10:0:1::/80", anyPort, last, tcp), spread("2001:db8:10:0:1::/80", anyPort, last, udp))
	inner := service("wide-inner", wideInner,
		spread("192.0.2.134/32", anyPort, last, tcp), spread("192.0.2.144/28", 8080, 0, tcp),
		spread("2001:db8:10:0:1:2::/96", 8000, 8999, udp))
	exact := service("wide-exact", wideExact,
		spread("192.0.2.136/32", 8500, 0, tcp), spread("2001:db8:10:0:1:2::5/128", 8500, 0, udp))

	quic := service("quic", quicByFlow,
		spread(vip4.String()+"/32", 443, 0, udp), spread(vip6.String()+"/128", 443, 0, udp), spread(vip4.String()+"/32", 443, 0, tcp))
	quic.QUIC = dataplane.QUIC{Offset: 1, Length: 2}
	named := backend(quicNamed)
	named.Weight, named.QUICID = 0, "b2"
	quic.Backends[0].QUICID = "a1"
	quic.Backends = append(quic.Backends, named)
	tight := service("narrow", narrow, spread(vip4.String()+"/32", narrow, 0, udp), spread(vip6.String()+"/128", narrow, 0, udp))
	tight.Backends[0].Hop.MTU = narrowMTU
	return []dataplane.Service{outer, inner, exact, quic, tight}
}

// spread is a VIP of a prefix, and of ports from one to a last one, 0 if there is
// but one.
func spread(prefix string, port, last uint16, protocol dataplane.Protocol) dataplane.VIP {
	p := netip.MustParsePrefix(prefix)
	return dataplane.VIP{
		Addr: p.Addr(), Port: port, Protocol: protocol,
		Wide: dataplane.Wide{HostBits: uint8(p.Addr().BitLen() - p.Bits()), LastPort: last},
	}
}

// quic is a packet with a payload in the format of QUIC or not.
func quic(payload []byte) segment { return segment{packet.UDPIP, packet.UDP(clientPort, 443, payload)} }

// short and long have a connection ID in the header of that name.
func short(id string) segment { return quic(packet.QUICShort([]byte(id), []byte("protected payload"))) }
func long(id string) segment  { return quic(packet.QUICLong([]byte(id), []byte("an Initial's rest"))) }
