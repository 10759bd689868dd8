package kernel

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

var (
	mappedVIP4 = netip.MustParseAddr("192.0.2.20")
	mappedVIP6 = netip.MustParseAddr("2001:db8:10::20")
)

// On both VIPs, for TCP and UDP: 80 is one instance's, which no tunnel names,
// and 443 belongs to two, which it does.
const (
	onlyVIPPort, onlyLocal                  = 80, 8080
	severalVIPPort, firstLocal, secondLocal = 443, 20001, 20002
	unmappedPort                            = 22
)

func mappedPorts() []DecapPort {
	var ports []DecapPort
	for _, vip := range []netip.Addr{mappedVIP4, mappedVIP6} {
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			ports = append(ports,
				DecapPort{VIP: netip.AddrPortFrom(vip, onlyVIPPort), Protocol: protocol, Local: onlyLocal},
				DecapPort{VIP: netip.AddrPortFrom(vip, severalVIPPort), Protocol: protocol, Local: firstLocal, Named: true},
				DecapPort{VIP: netip.AddrPortFrom(vip, severalVIPPort), Protocol: protocol, Local: secondLocal, Named: true},
			)
		}
	}
	return ports
}

// portPacket is an IP packet in which a VIP's port stands. Built with another
// port it is what mapping must make of it, sums and all.
type portPacket struct {
	says  string
	build func(v6 bool, port uint16) []byte
}

// askOfVIP is a client's packet, answerOfVIP a server's.
func askOfVIP(v6 bool, protocol uint8) packet.IP {
	if v6 {
		return packet.IP{From: decapClient6, To: mappedVIP6, Protocol: protocol}
	}
	return packet.IP{From: decapClient4, To: mappedVIP4, Protocol: protocol}
}

func answerOfVIP(v6 bool, protocol uint8) packet.IP {
	ip := askOfVIP(v6, protocol)
	ip.From, ip.To = ip.To, ip.From
	return ip
}

const mappedClient = 40000

// transports are what carries ports one way; ip and the ports' order make the way.
func transports(ip func(bool, uint8) packet.IP, order func(vip uint16) (from, to uint16)) []portPacket {
	tcp := func(change func(*packet.IP)) func(bool, uint16) []byte {
		return func(v6 bool, port uint16) []byte {
			header := ip(v6, packet.TCPIP)
			if change != nil {
				change(&header)
			}
			from, to := order(port)
			return header.Packet(packet.TCP(from, to, packet.ACK, nil, []byte("points, odd")))
		}
	}
	udp := func(payload []byte) func(bool, uint16) []byte {
		return func(v6 bool, port uint16) []byte {
			from, to := order(port)
			return ip(v6, packet.UDPIP).Packet(packet.UDP(from, to, payload))
		}
	}
	return []portPacket{
		{"a TCP segment", tcp(nil)},
		{"a datagram", udp([]byte("hello"))},
		{"a datagram without payload", udp(nil)},
		{"a datagram without a checksum", func(v6 bool, port uint16) []byte {
			return withoutSum(udp([]byte("hello"))(v6, port))
		}},
		{"IPv4 options, or extension headers", tcp(func(ip *packet.IP) {
			if ip.V6() {
				ip.Extensions = []packet.Extension{packet.OptionsHeader(0, 1), packet.AHHeader(3), packet.OptionsHeader(60, 0)}
				return
			}
			ip.Options = slices.Repeat([]byte{1}, 40)
		})},
		{"a first fragment", tcp(func(ip *packet.IP) {
			if ip.V6() {
				ip.Extensions = []packet.Extension{packet.FragmentHeader(7, 0, true)}
				return
			}
			ip.MF = true
		})},
		{"an atomic fragment", tcp(func(ip *packet.IP) {
			if ip.V6() {
				ip.Extensions = []packet.Extension{packet.FragmentHeader(7, 0, false)}
			}
		})},
	}
}

// withoutSum is a datagram, whose IP header is the shortest, with sum zero.
func withoutSum(p []byte) []byte {
	at := 20
	if p[0]>>4 == 6 {
		at = 40
	}
	p[at+6], p[at+7] = 0, 0
	return p
}

// errorsAbout are ICMP errors that quote what went the secondLocal way, as much of it
// as is usual and less.
func errorsAbout(ip func(bool, uint8) packet.IP, quoted []portPacket) []portPacket {
	var all []portPacket
	for _, about := range quoted {
		for _, quote := range []struct {
			says  string
			bytes int
		}{{"8 bytes of ", 8}, {"20 bytes of ", 20}, {"all of ", 1000}} {
			all = append(all, portPacket{"an ICMP error that quotes " + quote.says + about.says, func(v6 bool, port uint16) []byte {
				of := about.build(v6, port)
				of = of[:min(len(of), len(of)-transportSize(of)+quote.bytes)]
				if v6 {
					return ip(true, packet.ICMPv6).Packet(packet.Message(1, 4, 0, slices.Clone(of)))
				}
				return ip(false, packet.ICMP).Packet(packet.Message(3, 3, 0, slices.Clone(of)))
			}})
		}
	}
	return all
}

// transportSize is that of the segment or datagram in a packet of transports.
func transportSize(p []byte) int {
	if p[0]>>4 == 4 {
		return len(p) - int(p[0]&15)*4
	}
	if next := p[6]; next == packet.UDPIP {
		return len(p) - 40
	}
	return 20 + len("points, odd")
}

func clientsFirst(vip uint16) (from, to uint16) { return mappedClient, vip }
func serversFirst(vip uint16) (from, to uint16) { return vip, mappedClient }
func mappedInwards() []portPacket {
	return withErrors(transports(askOfVIP, clientsFirst), askOfVIP, transports(answerOfVIP, serversFirst))
}
func mappedOutwards() []portPacket {
	return withErrors(transports(answerOfVIP, serversFirst), answerOfVIP, transports(askOfVIP, clientsFirst))
}
func withErrors(of []portPacket, ip func(bool, uint8) packet.IP, quoted []portPacket) []portPacket {
	return append(of, errorsAbout(ip, quoted)...)
}

// inNamedGUE is a packet in GUE whose private data names an instance's port.
func inNamedGUE(outer6 bool, port uint16, inner []byte) []byte {
	headers := []byte{0xc1, 0x23, 6080 >> 8, 6080 & 0xff, 0, 0, 0, 0, 1, decapProtocol(inner), 0, 0, 'p', 'm', byte(port >> 8), byte(port)}
	binary.BigEndian.PutUint16(headers[4:], uint16(len(headers)+len(inner)))
	return decapFromBalancer(outer6, 17, 0, append(headers, inner...))
}

func families(t *testing.T, f func(t *testing.T, v6, outer6 bool)) {
	for _, m := range []decapMix{{}, {inner6: true}, {outer6: true}, {inner6: true, outer6: true}} {
		t.Run(m.String(), func(t *testing.T) { f(t, m.inner6, m.outer6) })
	}
}

func TestPrivilegedDecapMapsThePortOfTheOnlyInstance(t *testing.T) {
	b := newDecapBench(t)
	families(t, func(t *testing.T, v6, outer6 bool) {
		for _, p := range mappedInwards() {
			t.Run(p.says, func(t *testing.T) {
				inner, mapped := p.build(v6, onlyVIPPort), p.build(v6, onlyLocal)
				b.check(t, decapFrame(decapOuter(outer6, 0, inner)), "DECAPSULATE", decapFrame(mapped))
				b.check(t, decapFrame(decapInGUE(outer6, 0, inner)), "DECAPSULATE", decapFrame(mapped))
			})
		}
	})
}

func TestPrivilegedDecapTellsInstancesOfOneHostApart(t *testing.T) {
	b := newDecapBench(t)
	families(t, func(t *testing.T, v6, outer6 bool) {
		for _, p := range mappedInwards() {
			t.Run(p.says, func(t *testing.T) {
				inner := p.build(v6, severalVIPPort)
				for _, local := range []uint16{firstLocal, secondLocal} {
					b.check(t, decapFrame(inNamedGUE(outer6, local, inner)), "DECAPSULATE", decapFrame(p.build(v6, local)))
				}
				b.check(t, decapFrame(inNamedGUE(outer6, 20003, inner)), "DROP_NOT_MAPPED", nil)
				b.check(t, decapFrame(decapInGUE(outer6, 0, inner)), "DECAPSULATE", decapFrame(inner)) // that on the VIP's own port
			})
		}
	})
}

func TestPrivilegedDecapMapsAnswersBack(t *testing.T) {
	b := newDecapBench(t)
	back := map[uint16]uint16{onlyLocal: onlyVIPPort, firstLocal: severalVIPPort, secondLocal: severalVIPPort}
	for _, v6 := range []bool{false, true} {
		for _, p := range mappedOutwards() {
			t.Run(p.says+map[bool]string{true: " over IPv6"}[v6], func(t *testing.T) {
				for local, vip := range back {
					for _, tags := range [][]packet.Tag{nil, {{Type: packet.TypeTag, TCI: 7}}, {{Type: packet.TypeServiceTag, TCI: 8}, {Type: packet.TypeTag, TCI: 7}}} {
						ethernet := packet.Ethernet{Tags: tags}
						b.checkOut(t, ethernet.Around(p.build(v6, local)), "PASS_MAPPED_BACK", ethernet.Around(p.build(v6, vip)))
					}
				}
				b.checkOut(t, decapFrame(p.build(v6, unmappedPort)), "", nil)
			})
		}
	}
}

// A datagram's sum that comes to zero is written as 0xffff (RFC 768), in both directions.
func TestPrivilegedDecapNeverMakesASumIntoNone(t *testing.T) {
	b := newDecapBench(t)
	for n := range 1 << 16 {
		payload := []byte{byte(n >> 8), byte(n)}
		mapped := askOfVIP(false, packet.UDPIP).Packet(packet.UDP(mappedClient, onlyLocal, payload))
		if mapped[26] != 0xff || mapped[27] != 0xff {
			continue
		}
		inner := askOfVIP(false, packet.UDPIP).Packet(packet.UDP(mappedClient, onlyVIPPort, payload))
		b.check(t, decapFrame(decapOuter(false, 0, inner)), "DECAPSULATE", decapFrame(mapped))
		answer := answerOfVIP(false, packet.UDPIP)
		b.checkOut(t, decapFrame(answer.Packet(packet.UDP(onlyLocal, mappedClient, inner[28:]))), "PASS_MAPPED_BACK",
			decapFrame(answer.Packet(packet.UDP(onlyVIPPort, mappedClient, inner[28:]))))
		return
	}
	t.Fatal("no datagram has such a sum")
}

func TestPrivilegedDecapLeavesWhatHasNoPortOfAMapping(t *testing.T) {
	b := newDecapBench(t)
	later, echo, stranger := askOfVIP(false, packet.TCPIP), askOfVIP(false, packet.ICMP), askOfVIP(false, packet.TCPIP)
	later.Offset = 100
	stranger.To = decapVIP4
	for _, row := range []struct {
		says  string
		inner []byte
	}{
		{"a later fragment", later.Packet(packet.TCP(mappedClient, onlyVIPPort, packet.ACK, nil, nil))},
		{"an echo request", echo.Packet(packet.Message(8, 0, 0, make([]byte, 56)))},
		{"another protocol", askOfVIP(false, 132).Packet(packet.TCP(mappedClient, onlyVIPPort, packet.ACK, nil, nil))},
		{"another port", askOfVIP(false, packet.TCPIP).Packet(packet.TCP(mappedClient, unmappedPort, packet.ACK, nil, nil))},
		{"another VIP", stranger.Packet(packet.TCP(mappedClient, onlyVIPPort, packet.ACK, nil, nil))},
		{"an error whose quote ends within the ports", echo.Packet(packet.Message(3, 3, 0, answerOfVIP(false, packet.TCPIP).Packet(packet.TCP(onlyVIPPort, mappedClient, 16, nil, nil))[:21]))},
	} {
		t.Run(row.says, func(t *testing.T) {
			b.check(t, decapFrame(decapOuter(false, 0, row.inner)), "DECAPSULATE", decapFrame(row.inner))
		})
	}
	own := packet.IP{From: decapBackend4, To: decapClient4, Protocol: packet.TCPIP}
	b.checkOut(t, decapFrame(own.Packet(packet.TCP(onlyLocal, mappedClient, packet.ACK, nil, nil))), "", nil)
	wide := packet.IP{From: netip.MustParseAddr("192.0.2.130"), To: decapClient4, Protocol: packet.TCPIP}
	b.checkOut(t, decapFrame(wide.Packet(packet.TCP(onlyLocal, mappedClient, packet.ACK, nil, nil))), "", nil)
	b.checkOut(t, append([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x06"), make([]byte, 46)...), "", nil)
}

func TestPrivilegedDecapDropsWhatEndsBeforeItsPort(t *testing.T) {
	b := newDecapBench(t)
	whole := askOfVIP(false, packet.TCPIP).Packet(packet.TCP(mappedClient, onlyVIPPort, packet.ACK, nil, nil))
	for _, end := range []int{20, 23, 37} {
		cut := slices.Clone(whole[:end])
		cut[3] = byte(end)
		decapSum(cut)
		b.check(t, decapFrame(decapOuter(false, 0, cut)), "DROP_INNER_UNREADABLE", nil)
	}
	chain := askOfVIP(true, packet.TCPIP)
	chain.Extensions = slices.Repeat([]packet.Extension{packet.OptionsHeader(60, 0)}, 7)
	b.check(t, decapFrame(decapOuter(false, 0, chain.Packet(packet.TCP(mappedClient, onlyVIPPort, packet.ACK, nil, nil)))), "DROP_INNER_UNREADABLE", nil)
}

func TestPrivilegedDecapTakesOnlyItsOwnPrivateData(t *testing.T) {
	b := newDecapBench(t)
	frame := decapFrame(inNamedGUE(false, firstLocal, askOfVIP(false, packet.TCPIP).Packet(packet.TCP(mappedClient, severalVIPPort, packet.ACK, nil, nil))))
	const gue = 14 + 20 + 8
	for _, row := range []struct {
		says  string
		frame []byte
	}{
		{"another's", decapChanged(frame, gue+4, 'x')},
		{"the port 0", decapChanged(frame, gue+6, 0, 0)},
		{"two words", decapChanged(frame, gue, 2)},
		{"a flag beside it", decapChanged(frame, gue+3, 1)},
		{"a UDP length that ends before it", decapChanged(frame, 34+4, 0, 15)},
	} {
		t.Run(row.says, func(t *testing.T) { b.check(t, row.frame, "PASS_GUE_OPTIONS", nil) })
	}
}

// checkOut runs a frame through the program of the way out. It counts nothing
// where it has nothing to do.
func (b *decapBench) checkOut(t *testing.T, frame []byte, outcome string, want []byte) {
	t.Helper()
	if want == nil {
		want = frame
	}
	before := b.counters(t)
	out := decapProgram{"out", b.objs.PointsmanDecapOut, 1<<32 - 1, 2}
	out.check(t, frame, outcome, want, func() string { return b.moved(t, before) })
}
