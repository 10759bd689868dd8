package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// routed is a packet with a route that its sender has given, or the like, and what
// becomes of it between families.
type routed struct {
	says    string
	special change
	counts  string // "" where it goes on
	pointer uint32 // of the answer
}

func withOptions(options ...byte) change {
	return func(ip *packet.IP) {
		for len(options)%4 != 0 {
			options = append(options, packet.EndOfOptions)
		}
		ip.Options = options
	}
}

// What RFC 7915 says in sections 4.1 and 5.1 of headers that a translator leaves out.
var (
	routed4 = []routed{
		{says: "options of no consequence", special: options(8)},
		{says: "a source route", special: withOptions(packet.SourceRoute(1, 0)...), counts: "REPLY_SOURCE_ROUTE"},
		{says: "a source route half way", special: withOptions(packet.SourceRoute(3, 2)...), counts: "REPLY_SOURCE_ROUTE"},
		{says: "a source route at its end", special: withOptions(packet.SourceRoute(3, 3)...)},
		{says: "a strict source route", special: withOptions(packet.StrictRoute, 7, 4, 10, 0, 0, 1), counts: "REPLY_SOURCE_ROUTE"},
		{says: "a source route as the last of all options", special: withOptions(append(slices.Repeat([]byte{packet.NoOperation}, 33), packet.LooseRoute, 7, 4, 10, 0, 0, 1)...), counts: "REPLY_SOURCE_ROUTE"},
		{says: "a source route behind a recorded one", special: withOptions(append([]byte{packet.RecordRoute, 7, 8, 10, 0, 0, 1}, packet.SourceRoute(1, 0)...)...), counts: "REPLY_SOURCE_ROUTE"},
		{says: "a recorded route", special: withOptions(packet.RecordRoute, 7, 4, 0, 0, 0, 0)},
		{says: "what looks like a source route behind the end of options", special: withOptions(append([]byte{packet.EndOfOptions}, packet.SourceRoute(1, 0)...)...)},
		{says: "what looks like one within another option", special: withOptions(packet.RecordRoute, 11, 12, packet.LooseRoute, 7, 4, 10, 0, 0, 1, 0)},
		{says: "an option of no length, which nothing can be read behind", special: withOptions(append([]byte{68, 0}, packet.SourceRoute(1, 0)...)...)},
		{says: "an option that is longer than all", special: withOptions(68, 255, 5, 0, packet.LooseRoute, 7, 4, 0)},
	}
	routed6 = []routed{
		{says: "a routing header that is used up", special: chained(packet.RoutingHeader(0))},
		{says: "options of both kinds", special: chained(packet.OptionsHeader(0, 0), packet.OptionsHeader(packet.Options, 1))},
		{says: "a routing header", special: chained(packet.RoutingHeader(1)), counts: "REPLY_SOURCE_ROUTE", pointer: 43},
		{says: "a routing header behind options", special: chained(packet.OptionsHeader(0, 0), packet.OptionsHeader(packet.Options, 1), packet.RoutingHeader(2)), counts: "REPLY_SOURCE_ROUTE", pointer: 67},
		{says: "a routing header behind one that is used up", special: chained(packet.RoutingHeader(0), packet.RoutingHeader(1)), counts: "REPLY_SOURCE_ROUTE", pointer: 51},
		{says: "a routing header as the last of six", special: chained(slices.Repeat([]packet.Extension{packet.OptionsHeader(packet.Options, 0)}, 5)...), counts: ""},
		{says: "an authentication header", special: chained(packet.AHHeader(3)), counts: "DROP_NAT_FAMILY"},
		{says: "an authentication header behind a routing header", special: chained(packet.RoutingHeader(1), packet.AHHeader(3)), counts: "REPLY_SOURCE_ROUTE", pointer: 43},
		{says: "a routing header behind an authentication header", special: chained(packet.AHHeader(3), packet.RoutingHeader(1)), counts: "DROP_NAT_FAMILY"},
	}
)

func TestPrivilegedARouteOfItsSendersDoesNotLeadAPacketAcrossFamilies(t *testing.T) {
	for _, mix := range natMixes {
		t.Run(mix.name, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
			sent := talk{from: netip.AddrPortFrom(mix.client, clientPort), to: netip.AddrPortFrom(mix.vip, 80), protocol: dataplane.UDP}
			got := s.request(sent)
			s.reply(talk{from: got.to, to: got.from, protocol: dataplane.UDP})
			for _, way := range []struct {
				says     string
				from, to netip.AddrPort
				counts   string
			}{
				{"in a request", sent.from, sent.to, "backend 1"},
				{"in an answer", got.to, got.from, "REPLY_BACKEND"},
			} {
				rows := routed4
				if way.to.Addr().Is6() {
					rows = routed6
				}
				for _, row := range rows {
					if mix.vip.Is4() == mix.backend.Is4() {
						row.counts = ""
					}
					t.Run(row.says+" "+way.says, func(t *testing.T) { row.meets(t, s, way.from, way.to, way.counts) })
				}
			}
		})
	}
}

// meets sends it whole, in fragments and as an error, with such a header each.
func (r routed) meets(t *testing.T, s *natStage, from, to netip.AddrPort, goesOn string) {
	ip := changed(packet.IP{From: from.Addr(), To: to.Addr(), ID: 4711}, []change{r.special})
	datagram := func() segment { return segment{packet.UDPIP, packet.UDP(from.Port(), to.Port(), make([]byte, 40))} }
	counts := func(says string, frame []byte, want string) result {
		t.Helper()
		got := s.send(frame)
		if !maps.Equal(got.moved, map[string]uint64{want: 1}) {
			t.Errorf("%s: counters moved by %v, want %s", says, got.moved, want)
		}
		return got
	}
	want, untold := goesOn, goesOn
	if r.counts != "" {
		want, untold = r.counts, "DROP_NAT_FAMILY"
	}
	whole := frame(ip, datagram())
	got := counts("whole", whole, want)
	if want == "REPLY_SOURCE_ROUTE" {
		r.isTold(t, whole, got)
	}
	counts("in a frame to a group", toGroup(bytes.Clone(whole)), untold)

	s.forgetFragments()
	first, later := ip, ip
	part(0, true)(&first)
	part(6, false)(&later)
	later.Protocol = packet.UDPIP
	counts("a first fragment", frame(first, datagram()), want)
	counts("a later one", header().Frame(later.Packet(make([]byte, 24))), untold)

	s.forgetFragments()
	plain := packet.IP{From: ip.From, To: ip.To, ID: ip.ID}
	part(0, true)(&plain)
	counts("a first fragment without it", frame(plain, datagram()), goesOn)
	counts("a later one with it", header().Frame(later.Packet(make([]byte, 24))), untold)

	about := packet.IP{From: to.Addr(), To: from.Addr(), Protocol: packet.UDPIP}
	quote := about.Packet(packet.UDP(to.Port(), from.Port(), nil))
	unreachable := control(3, 3, quote)
	if ip.V6() {
		unreachable = control6(1, 4, quote)
	}
	counts("an error", frame(ip, unreachable), untold)
}

// isTold wants the sender to have got what RFC 792 and RFC 4443, section 3.4, have for
// that: a source route that failed, or a header with an error at a pointer.
func (r routed) isTold(t *testing.T, sent []byte, got result) {
	t.Helper()
	ip := got.frame[14:]
	message, wantHead := ip[20:], []byte{3, 5}
	from, to := sent[14+16:14+20], sent[14+12:14+16]
	gotFrom, gotTo := ip[12:16], ip[16:20]
	begun := uint32(0)
	if sent[12] != 8 {
		message, wantHead = ip[40:], []byte{4, 0}
		from, to = sent[14+24:14+40], sent[14+8:14+24]
		gotFrom, gotTo = ip[8:24], ip[24:40]
		begun = uint32(packet.ICMPv6) + uint32(len(message)) + uint32(packet.Sum(0, ip[8:40]))
	} else if sum16(ip[:20]) != 0xffff {
		t.Errorf("the header's sum is wrong:\n%x", ip)
	}
	switch {
	case got.verdict != xdpTX || !bytes.Equal(got.frame[:6], sent[6:12]) || !bytes.Equal(got.frame[6:12], sent[:6]):
		t.Errorf("it goes by verdict %d with the MACs %x", got.verdict, got.frame[:12])
	case !bytes.Equal(gotFrom, from) || !bytes.Equal(gotTo, to):
		t.Errorf("it goes from %x to %x", gotFrom, gotTo)
	case !bytes.Equal(message[:2], wantHead) || binary.BigEndian.Uint32(message[4:]) != r.pointer:
		t.Errorf("it says %x, want %x and %d", message[:8], wantHead, r.pointer)
	case packet.Sum(begun, message) != 0xffff:
		t.Errorf("its sum is wrong:\n%x", message)
	case !bytes.HasPrefix(sent[14:], message[8:]) || len(message) < 8+len(sent)-14-3:
		t.Errorf("it quotes\n%x of\n%x", message[8:], sent[14:])
	}
}
