package stories

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// longDatagram is far more than a packet: 14 fragments on the client's wire.
const longDatagram = 20_000

func TestPrivilegedDatagramsOf20kBArriveWholeHoweverTheirFragmentsCome(t *testing.T) {
	modes := []string{"ipip", "gue", "l2"}
	services := ""
	for i, forward := range modes {
		services += fmt.Sprintf(`
service "dns-%d" {
  listen  = ["%s:53/udp", "[%s]:53/udp"]
  forward = %q
  slots   = 251
  backend "{{v4 1}}" {}
  backend "{{v4 2}}" {}
}`, i+1, lab.VIP4(byte(i+1)), lab.VIP6(byte(i+1)), forward)
	}
	s := open(t, lab.Options{Backends: 2}, 1, 2, 3)
	s.begin(services)
	s.overhear()
	for _, h := range s.Lab.Backends {
		s.must(answerNoLongerThan(lab.ClientMTU, h, s.Lab.Client))
	}
	for i, forward := range modes {
		for _, vip := range []netip.Addr{lab.VIP4(byte(i + 1)), lab.VIP6(byte(i + 1))} {
			t.Run(fmt.Sprintf("by the client's own stack, to %s by %s", vip, forward), func(t *testing.T) { s.in(t).echoesLong(netip.AddrPortFrom(vip, 53)) })
			for _, order := range orders {
				t.Run(fmt.Sprintf("%s, to %s by %s", order.name, vip, forward), func(t *testing.T) {
					s.in(t).echoesFragments(netip.AddrPortFrom(vip, 53), order.of)
				})
			}
		}
	}
	if n := s.outcome("DROP_FRAGMENT"); n != 0 {
		t.Errorf("%d fragments were dropped", n)
	}
	if s.outcome("HOLD_FRAGMENT") == 0 {
		t.Error("none was held: did any come before its first?")
	}
}

// orders are those in which the fragments of two datagrams come.
var orders = []struct {
	name string
	of   func(a, b [][]byte) [][]byte
}{
	{"in order", func(a, b [][]byte) [][]byte { return slices.Concat(a, b) }},
	{"in reverse", func(a, b [][]byte) [][]byte { return slices.Concat(reversed(a), reversed(b)) }},
	{"interleaved", interleaved},
	{"interleaved and in reverse", func(a, b [][]byte) [][]byte { return reversed(interleaved(a, b)) }},
}

// A fragment whose first never comes is held, and dropped by its name in the end.
func TestPrivilegedAFragmentWithoutAFirstIsCountedWhenItIsGivenUp(t *testing.T) {
	s := open(t, lab.Options{Backends: 1}, 1)
	s.begin(fmt.Sprintf(`
service "dns" {
  listen = ["%s:53/udp"]
  backend "{{v4 1}}" {}
}`, lab.VIP4(1)))
	raw := s.rawSocket(false)
	client, vip := netip.AddrPortFrom(s.Lab.Client.Addr4, 4000), netip.AddrPortFrom(lab.VIP4(1), 53)
	for _, fragment := range fragmentsOf(t, client, vip, 1, make([]byte, longDatagram))[1:] {
		s.must(raw.send(fragment, vip.Addr()))
	}
	s.await("all have been given up", func() error {
		if held, dropped := s.outcome("HOLD_FRAGMENT"), s.outcome("DROP_FRAGMENT"); held != 13 || dropped != held {
			return fmt.Errorf("%d were held and %d dropped", held, dropped)
		}
		return nil
	})
}

// answerNoLongerThan keeps path MTU discovery out of a story: the lab's other wires
// take longer packets than the client's.
func answerNoLongerThan(mtu int, h, asker *lab.Host) error {
	for _, to := range []netip.Addr{asker.Addr4, asker.Addr6} {
		routes, err := h.Links().RouteGet(to.AsSlice())
		if err != nil {
			return err
		}
		only := &net.IPNet{IP: to.AsSlice(), Mask: net.CIDRMask(to.BitLen(), to.BitLen())}
		if err := h.Links().RouteReplace(&netlink.Route{Dst: only, Gw: routes[0].Gw, LinkIndex: routes[0].LinkIndex, MTU: mtu}); err != nil {
			return err
		}
	}
	return nil
}

func reversed(frames [][]byte) [][]byte {
	frames = slices.Clone(frames)
	slices.Reverse(frames)
	return frames
}

func interleaved(a, b [][]byte) (both [][]byte) {
	for i := range a {
		both = append(both, a[i], b[i])
	}
	return both
}

// echoesLong leaves the fragments to the client.
func (s *stage) echoesLong(vip netip.AddrPort) {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", vip.String())
	s.must(err)
	defer conn.Close()
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	text := strings.Repeat("doors are closing ", longDatagram/18)
	_, err = conn.Write([]byte(text))
	s.must(err)
	answer := make([]byte, 65536)
	n, err := conn.Read(answer)
	s.must(err)
	if !strings.HasSuffix(string(answer[:n]), " "+text) {
		s.t.Errorf("%d bytes came back, and %d were sent", n, len(text))
	}
}

// echoesFragments sends two datagrams in an order of their fragments, and wants
// both back.
func (s *stage) echoesFragments(to netip.AddrPort, order func(a, b [][]byte) [][]byte) {
	s.t.Helper()
	conn, err := s.Lab.Client.Dial(s.t.Context(), "udp", to.String())
	s.must(err)
	defer conn.Close()
	s.must(conn.SetDeadline(time.Now().Add(patience)))
	from := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())

	texts := []string{strings.Repeat("tickets, please! ", longDatagram/17), strings.Repeat("all change here! ", longDatagram/17)}
	var datagrams [2][][]byte
	for i, text := range texts {
		datagrams[i] = fragmentsOf(s.t, from, to, uint16(from.Port())+uint16(i), []byte(text))
	}
	raw := s.rawSocket(to.Addr().Is6())
	for _, fragment := range order(datagrams[0], datagrams[1]) {
		s.must(raw.send(fragment, to.Addr()))
	}
	answer := make([]byte, 65536)
	for len(texts) > 0 {
		n, err := conn.Read(answer)
		s.must(err)
		_, text, _ := strings.Cut(string(answer[:n]), " ")
		i := slices.Index(texts, text)
		if i < 0 {
			s.t.Fatalf("%d bytes came back that were not sent: %.60q…", n, text)
		}
		texts = slices.Delete(texts, i, i+1)
	}
}

// fragmentsOf are the packets of a datagram as they fit the client's wire.
func fragmentsOf(t *testing.T, from, to netip.AddrPort, id uint16, payload []byte) (packets [][]byte) {
	t.Helper()
	datagram := udpDatagram(t, from, to, payload)
	const size = 1440 // fits with an IPv6 and a fragment header, and is of eights
	for at := 0; at < len(datagram); at += size {
		part := datagram[at:min(at+size, len(datagram))]
		more := at+size < len(datagram)
		packets = append(packets, fragment(t, from.Addr(), to.Addr(), id, at, more, part))
	}
	return packets
}

func udpDatagram(t *testing.T, from, to netip.AddrPort, payload []byte) []byte {
	t.Helper()
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	var ip gopacket.NetworkLayer = &layers.IPv4{SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(), Protocol: layers.IPProtocolUDP}
	if to.Addr().Is6() {
		ip = &layers.IPv6{SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(), NextHeader: layers.IPProtocolUDP}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return serialized(t, udp, gopacket.Payload(payload))
}

func fragment(t *testing.T, from, to netip.Addr, id uint16, at int, more bool, part []byte) []byte {
	t.Helper()
	if to.Is6() {
		header := []byte{byte(layers.IPProtocolUDP), 0, 0, 0, 0, 0, byte(id >> 8), byte(id)}
		bits := uint16(at)
		if more {
			bits |= 1
		}
		binary.BigEndian.PutUint16(header[2:], bits)
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolIPv6Fragment, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		return serialized(t, ip, gopacket.Payload(slices.Concat(header, part)))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: id, Protocol: layers.IPProtocolUDP, FragOffset: uint16(at / 8), SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	if more {
		ip.Flags = layers.IPv4MoreFragments
	}
	return serialized(t, ip, gopacket.Payload(part))
}

func serialized(t *testing.T, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// rawSocket sends the client's packets with the headers that they are given.
type rawSocket int

func (s *stage) rawSocket(v6 bool) rawSocket {
	s.t.Helper()
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	var fd int
	s.must(s.Lab.Client.Do(func() (err error) {
		fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}))
	s.t.Cleanup(func() { unix.Close(fd) })
	return rawSocket(fd)
}

func (r rawSocket) send(packet []byte, to netip.Addr) error {
	if to.Is6() {
		return unix.Sendto(int(r), packet, 0, &unix.SockaddrInet6{Addr: to.As16()})
	}
	return unix.Sendto(int(r), packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
}
