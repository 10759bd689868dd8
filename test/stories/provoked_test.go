package stories

import (
	"encoding/binary"
	"math"
	"net/netip"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/packet"
)

// provoked has a service for each thing that can be wrong with one.
const provoked = `
limits { connections = 64 }
service "here" {
  listen  = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp", "192.0.2.1:53/udp", "[2001:db8:10::1]:53/udp"]
  slots   = 251
  backend "{{v4 1}}" {}
}
service "by-l2" {
  listen  = ["192.0.2.2:80/tcp", "[2001:db8:10::2]:80/tcp"]
  forward = "l2"
  slots   = 251
  backend "{{v4 1}}" {}
}
service "there" {
  listen  = ["192.0.2.3:80/tcp", "[2001:db8:10::3]:80/tcp"]
  slots   = 251
  backend "{{v4 2}}" {}
}
service "by-nat" {
  listen  = ["192.0.2.5:80/tcp", "[2001:db8:10::5]:80/tcp"]
  forward = "nat"
  slots   = 251
  backend "{{v4 1}}" {}
}
service "by-nat-from-v4" {
  listen  = ["192.0.2.6:80/tcp"]
  forward = "nat"
  slots   = 251
  backend "[{{v6 1}}]:80" {}
}
service "by-nat-from-v6" {
  listen  = ["[2001:db8:10::6]:80/tcp"]
  forward = "nat"
  slots   = 251
  backend "{{v4 1}}:80" {}
}
service "nowhere" {
  listen  = ["192.0.2.4:80/tcp", "[2001:db8:10::4]:80/tcp"]
  slots   = 251
  backend "198.51.100.99" {} # nobody has it
}
`

// The VIPs of provoked, by their last byte.
const (
	toHere byte = iota + 1
	toL2
	toThere
	toNowhere
	toNAT
	toNATBetween // families
)

// provocation is how a packet comes to be dropped for a reason.
type provocation struct {
	reason string
	how    string
	vip    byte
	// packet is to a VIP, in which the ends are filled in already.
	packet func(packet.IP) []byte
	// protocol is what is told of it, and ports says whether they are.
	protocol protocols
	ports    bool
	from     func(*stage) *lab.Host // whose frame it is; nil is the router's
	source   protocols              // whose packet it is; the client's unless given
	means    means                  // nil is to send the frame
	also     string                 // another outcome that comes with it, as often
}

// protocols are words for IPv4 and IPv6.
type protocols struct{ v4, v6 string }

func (p protocols) of(v6 bool) string {
	if v6 {
		return p.v6
	}
	return p.v4
}

// means bring a frame before the program.
type means func(s *stage, send func(), frame []byte)

var (
	tcp  = protocols{"tcp", "tcp"}
	udp  = protocols{"udp", "udp"}
	icmp = protocols{"icmp", "icmpv6"}
)

// provocations are one a reason; a test wants one of each that the program has.
var provocations = []provocation{
	{reason: "HOLD_FRAGMENT", how: "a fragment comes before the first of its packet", vip: toHere, protocol: udp, packet: laterFragment, also: "DROP_FRAGMENT"},
	{reason: "DROP_FRAGMENT", how: "the first fragment of a packet never comes", vip: toHere, protocol: udp, packet: laterFragment, also: "HOLD_FRAGMENT"},
	{reason: "DROP_UNREADABLE", how: "the TCP header is cut short, behind seven extension headers or all options that IPv4 takes", vip: toHere,
		protocol: protocols{"tcp", "protocol-60"}, packet: cutShort},
	{reason: "DROP_BAD_LENGTH", how: "UDP's length is more than there is", vip: toHere, protocol: udp, ports: true, packet: lyingLength},
	{reason: "DROP_BAD_FLAGS", how: "a TCP segment has no flag at all", vip: toHere, protocol: tcp, ports: true, packet: segment(0)},
	{reason: "DROP_BAD_CHECKSUM", how: "an ICMP error about what the VIP has sent is damaged, and told of as its flow", vip: toNATBetween, protocol: tcp, ports: true,
		packet: hurt, means: onceConnected},
	{reason: "DROP_LOOP", how: "an l2 backend sends back what it got", vip: toL2, protocol: tcp, ports: true, packet: segment(packet.SYN),
		from: func(s *stage) *lab.Host { return s.backend(1) }},
	{reason: "DROP_ICMP_QUOTE", how: "an ICMP error quotes a packet that the VIP has not sent", vip: toHere, protocol: icmp, packet: foreignQuote},
	{reason: "DROP_NO_BACKEND", how: "nobody has the address of the only backend", vip: toNowhere, protocol: tcp, ports: true, packet: segment(packet.SYN)},
	{reason: "DROP_NO_CONNECTION", how: "a segment belongs to a connection that nobody knows", vip: toNAT, protocol: tcp, ports: true, packet: segment(packet.ACK)},
	{reason: "DROP_NAT_FULL", how: "the table has room for no connection", vip: toNAT, protocol: tcp, ports: true, packet: segment(packet.SYN), means: withFullTable},
	{reason: "DROP_NAT_PORTS", how: "no source port is free", vip: toNAT, protocol: tcp, ports: true, packet: segment(packet.SYN), means: withoutPorts},
	{reason: "DROP_NAT_FAMILY", how: "the backend's family has no such ICMP error, which is told of as its flow", vip: toNATBetween, protocol: tcp, ports: true,
		packet: untranslatable, means: onceConnected},
	{reason: "DROP_TTL", how: "a packet may not be sent any further", vip: toNAT, protocol: tcp, ports: true, packet: lastHop},
	{reason: "DROP_TOO_BIG", how: "a packet does not fit, and its source is no host that could be told", vip: toHere, protocol: udp, ports: true,
		packet: fullDatagram, source: protocols{"127.0.0.1", "::1"}},
	{reason: "DROP_NO_HEADROOM", how: "a driver leaves no room in front of a frame", vip: toHere, protocol: tcp, ports: true, packet: segment(packet.SYN), means: cramped},
	{reason: "DROP_NO_EGRESS", how: "somebody takes the backend's interface out of the map", vip: toThere, protocol: tcp, ports: true, packet: segment(packet.SYN), means: withoutEgress},
}

const (
	clientsPort = 40000
	vipsPort    = 80
)

func laterFragment(ip packet.IP) []byte {
	ip.Protocol, ip.ID, ip.Offset, ip.MF = packet.UDPIP, 7, 100, true
	if ip.V6() {
		ip.Extensions = []packet.Extension{packet.FragmentHeader(7, 100, true)}
	}
	return ip.Packet(make([]byte, 80))
}

func cutShort(ip packet.IP) []byte {
	ip.Protocol, ip.Options = packet.TCPIP, make([]byte, 40)
	for i := range ip.Options {
		ip.Options[i] = 1 // no operation
	}
	for range 7 {
		ip.Extensions = append(ip.Extensions, packet.OptionsHeader(packet.Options, 0))
	}
	if ip.V6() {
		ip.Options = nil
	}
	return ip.Packet(packet.TCP(clientsPort, vipsPort, packet.SYN, nil, nil)[:10])
}

func lyingLength(ip packet.IP) []byte {
	ip.Protocol = packet.UDPIP
	datagram := packet.UDP(clientsPort, 53, make([]byte, 40))
	binary.BigEndian.PutUint16(datagram[4:], 1000)
	return ip.Packet(datagram)
}

func segment(flags uint8) func(packet.IP) []byte {
	return func(ip packet.IP) []byte {
		ip.Protocol = packet.TCPIP
		return ip.Packet(packet.TCP(clientsPort, vipsPort, flags, nil, make([]byte, 40)))
	}
}

func lastHop(ip packet.IP) []byte {
	ip.TTL = 1
	return segment(packet.SYN)(ip)
}

// untranslatable is an error about what the VIP has sent that RFC 7915 knows no
// counterpart of: a host precedence that is violated, and an option that is not known.
func untranslatable(ip packet.IP) []byte {
	return aboutWhatTheVIPSent(ip, [2]byte{3, 14}, [2]byte{4, 2})
}

// hurt is one that has a counterpart, an unreachable port, but for its last bit.
func hurt(ip packet.IP) []byte {
	message := aboutWhatTheVIPSent(ip, [2]byte{3, 3}, [2]byte{1, 4})
	message[len(message)-1] ^= 1
	return message
}

// aboutWhatTheVIPSent is an error by its type and code, of ICMP and of ICMPv6.
func aboutWhatTheVIPSent(ip packet.IP, says4, says6 [2]byte) []byte {
	quoted := packet.IP{From: ip.To, To: ip.From, Protocol: packet.TCPIP}
	says, protocol := says4, uint8(packet.ICMP)
	if ip.V6() {
		says, protocol = says6, packet.ICMPv6
	}
	ip.Protocol = protocol
	return ip.Packet(packet.Message(says[0], says[1], 0, quoted.Packet(packet.TCP(vipsPort, clientsPort, packet.ACK, nil, nil))))
}

// onceConnected begins the connection that the frame is about.
func onceConnected(s *stage, send func(), frame []byte) {
	s.t.Helper()
	const ethernet = 14
	v6 := frame[ethernet]>>4 == 6
	from, to := provocation{vip: toNATBetween}.ends(s, v6)
	_, begin := s.sender(s.Lab.Router, "eth1")
	begin(append(slices.Clone(frame[:ethernet]), segment(packet.SYN)(packet.IP{From: from, To: to})...))
	send()
}

// foreignQuote says of a packet from a neighbour of the VIP's that it did not fit.
func foreignQuote(ip packet.IP) []byte {
	quoted := packet.IP{From: lab.VIP4(99), To: ip.From, Protocol: packet.TCPIP}
	kind, code, protocol := byte(3), byte(4), uint8(packet.ICMP)
	if ip.V6() {
		quoted.From, kind, code, protocol = lab.VIP6(99), 2, 0, packet.ICMPv6
	}
	ip.Protocol = protocol
	return ip.Packet(packet.Message(kind, code, 1280, quoted.Packet(packet.TCP(vipsPort, clientsPort, packet.ACK, nil, nil))))
}

// fullDatagram is as long as the wire takes.
func fullDatagram(ip packet.IP) []byte {
	ip.Protocol = packet.UDPIP
	headers := 28
	if ip.V6() {
		headers = 48
	}
	return ip.Packet(packet.UDP(clientsPort, 53, make([]byte, lab.ClientMTU-headers)))
}

// cramped stands in for a driver: veth leaves 256 bytes in front of every frame, as
// XDP asks of drivers. The program and the maps are those that forward.
func cramped(s *stage, _ func(), frame []byte) {
	s.t.Helper()
	program := s.pinned("program")
	defer program.Close()
	index := s.index("eth0")
	s.must(s.Host.Do(func() error { return program.RunCramped(frame, index) }))
}

// withoutEgress stops the daemon meanwhile, which would put the interface back.
func withoutEgress(s *stage, send func(), _ []byte) {
	s.t.Helper()
	s.must(s.Daemon.Signal(unix.SIGSTOP))
	defer func() { s.must(s.Daemon.Signal(unix.SIGCONT)) }()
	egress := s.pinned("maps/egress")
	defer egress.Close()
	s.must(egress.Delete(uint32(s.index("eth1"))))
	send()
}

// tagLines is how many there are: struct tag_line in bpf/nat_types.h has eight words.
const tagLines = 64 / 8

// withFullTable has all entries be of connections that are established, and last longer
// than the test. Whole lines of real ones would take luck.
func withFullTable(s *stage, send func(), _ []byte) {
	const established = 6
	s.meddle("maps/connection_tags", tagLines, func(line []byte) {
		for at := 0; at < 64; at += 8 {
			binary.NativeEndian.PutUint64(line[at:], established<<32|math.MaxInt32)
		}
	}, send)
}

// withoutPorts takes all settings of nat away, source ports among them. The daemon gives
// them back, and a connection may begin then, which is forgotten.
func withoutPorts(s *stage, send func(), _ []byte) {
	nothing := func(value []byte) { clear(value) }
	s.meddle("maps/nat", 1, nothing, func() { s.meddle("maps/connection_tags", tagLines, nothing, send) })
}

// meddle changes the first values of a map for as long as a frame takes to be dropped.
func (s *stage) meddle(name string, entries uint32, change func(value []byte), send func()) {
	s.t.Helper()
	m := s.pinned(name)
	defer m.Close()
	for key := range entries {
		value, err := m.Get(key, 1024)
		s.must(err)
		changed := slices.Clone(value)
		change(changed)
		s.must(m.Put(key, changed))
		defer func() { s.must(m.Put(key, value)) }()
	}
	before := s.gone()
	send()
	for tries := 0; tries < 20 && s.gone() == before; tries++ { // else it is sent again, by whoever wants to see it
	}
}

// gone is how many packets went nowhere.
func (s *stage) gone() (all uint64) {
	now := s.status().Outcomes
	for _, reason := range s.reasons() {
		all += now[reason]
	}
	return all
}

func (s *stage) pinned(name string) lab.Pinned {
	s.t.Helper()
	p, err := lab.OpenPinned(filepath.Join(s.PinDir(), name))
	s.must(err)
	return p
}

func (s *stage) index(iface string) int { return s.nextHopIndex(iface) }

// ends are those of a provocation's packet.
func (p provocation) ends(s *stage, v6 bool) (from, to netip.Addr) {
	from, to = s.Lab.Client.Addr4, lab.VIP4(p.vip)
	if v6 {
		from, to = s.Lab.Client.Addr6, lab.VIP6(p.vip)
	}
	if source := p.source.of(v6); source != "" {
		from = netip.MustParseAddr(source)
	}
	return from, to
}

// sender has frames ready to leave a host by an interface.
func (s *stage) sender(h *lab.Host, iface string) (mac packet.MAC, send func(frame []byte)) {
	s.t.Helper()
	link, err := h.Links().LinkByName(iface)
	s.must(err)
	var fd int
	s.must(h.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	s.t.Cleanup(func() { unix.Close(fd) })
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
	return packet.MAC(link.Attrs().HardwareAddr), func(frame []byte) {
		s.t.Helper()
		s.must(unix.Sendto(fd, frame, 0, to))
	}
}
