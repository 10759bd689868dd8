package wild_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
	"github.com/pointsman/pointsman/test/packet"
)

// kinds are the packets that the corpus has a case of, by the case's name: those
// that the program and the oracle once differed about, and one of each sort.
func kinds() map[string]func(moment) bool {
	all := map[string]func(moment) bool{
		"differed-a-first-fragment-named-by-padding":  namedByPadding,
		"differed-a-first-fragment-named-below-eight": namedBelowEight,
		"differed-an-echo-request-to-a-group":         func(m moment) bool { return m.isEchoToGroup(oracle.ReplyEcho) },
		"differed-a-length-that-lies-to-a-group":      func(m moment) bool { return m.isEchoToGroup(oracle.DropBadLength) },
		"differed-a-fragment-of-the-host-lies":        isLyingFragmentOfTheHost,
		"differed-a-first-fragment-to-a-dead-backend": isFirstFragmentToTheDead,
		"differed-a-flow-with-two-entries":            hasTwoEntries,
		"fragment-follows-over-ipv4":                  func(m moment) bool { return m.forwards() && m.isLaterFragment() },
		"fragment-follows-over-ipv6": func(m moment) bool {
			return m.forwards() && m.isIPv6() && m.to() == packet.Fragment && m.at(42)&0xfff8 > 0
		},
		"fragment-whose-backend-died": isFragmentToTheDead,
		"fragment-sent-again-in-vain": func(m moment) bool { return m.Outcome == oracle.DropFragment && m.WasHeld && m.Holds },
		"wide-one-port":               func(m moment) bool { return m.isForWide(func(v dataplane.VIP) bool { return v.LastPort == 0 }) },
		"wide-a-range": func(m moment) bool {
			return m.isForWide(func(v dataplane.VIP) bool { return v.LastPort > v.Port && !v.HasAnyPort() })
		},
		"wide-a-range-of-one-port": func(m moment) bool { return m.isForWide(func(v dataplane.VIP) bool { return v.LastPort == v.Port }) },
		"wide-any-port":            func(m moment) bool { return m.isForWide(dataplane.VIP.HasAnyPort) },
		"wide-any-address": func(m moment) bool {
			return m.isForWide(func(v dataplane.VIP) bool { return v.Addresses().Bits() == 0 })
		},
		"wide-quic": func(m moment) bool { return m.isForWide(func(v dataplane.VIP) bool { return m.isNamed(v) }) },
		"quic-exact": func(m moment) bool {
			vip, found := m.vip()
			return found && !vip.IsWide() && m.forwards() && m.isNamed(vip)
		},
		"affinity-client": func(m moment) bool {
			vip, found := m.vip()
			return found && m.forwards() && m.Tables.VIPs[vip].AffinityClient
		},
		"flow-inserted":        func(m moment) bool { return m.remembered.Inserted > m.remembered.Evicted },
		"flow-evicted":         func(m moment) bool { return m.remembered.Evicted > 0 },
		"flow-refused":         func(m moment) bool { return m.remembered.Refused > 0 },
		"too-many-icmp-errors": func(m moment) bool { return m.Outcome == oracle.DropTooBig && m.wouldBeAnsweredLater() },
		"slots-that-are-not-there": func(m moment) bool {
			vip, found := m.vip()
			return found && m.Outcome == oracle.DropNoBackend && m.Tables.VIPs[vip].FirstSlot >= wild.Slots
		},
		"icmp-cut-short": func(m moment) bool {
			return m.Outcome == oracle.DropUnreadable && m.isIPv4() && m.protocol() == packet.ICMP
		},
		"icmp-quotes-a-chain-cut-short": func(m moment) bool {
			return m.Outcome == oracle.DropICMPQuote && m.isIPv6() && m.to() == packet.ICMPv6 && m.at(40+8+6)>>8 == packet.Options && m.at(40+8+8) == m.at(24)
		},
		"icmp-error-over-ipv4":               func(m moment) bool { return m.forwards() && m.isIPv4() && m.protocol() == packet.ICMP },
		"icmp-error-over-ipv6":               func(m moment) bool { return m.forwards() && m.isIPv6() && m.to() == packet.ICMPv6 },
		"in-by-one-interface-out-by-another": func(m moment) bool { return m.forwards() && m.Interface != 1 && m.Verdict == oracle.Redirect },
		"in-and-out-by-another-interface":    func(m moment) bool { return m.forwards() && m.Interface != 1 && m.Verdict == oracle.TX },
		"no-room-for-an-icmp-error":          func(m moment) bool { return m.Outcome == oracle.DropNoHeadroom && m.isTooBigWithRoom() },
	}
	maps.Copy(all, natKinds())
	for _, outcome := range wild.Outcomes {
		all["outcome-"+strings.ToLower(strings.ReplaceAll(string(outcome), "_", "-"))] = func(m moment) bool { return m.Outcome == outcome }
	}
	for _, forward := range []dataplane.Forward{dataplane.IPIP, dataplane.GUE, dataplane.L2} {
		for _, outer := range []bool{false, true} {
			for tags := range 3 {
				name := fmt.Sprintf("way-%s-%s-%d-tags", forward, map[bool]string{false: "ipv4", true: "ipv6"}[outer], tags)
				all[name] = func(m moment) bool { return m.goesBy(forward, outer, tags) }
			}
		}
	}
	return all
}

// at is a word of the IP packet of a frame without tags; 0 behind its end.
func (m moment) at(offset int) int {
	if len(m.Arrival.Frame) < 14+offset+2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(m.Arrival.Frame[14+offset:]))
}

func (m moment) isIPv4() bool   { return m.at(-2) == packet.TypeIPv4 && len(m.Arrival.Frame) >= 14+20 }
func (m moment) isIPv6() bool   { return m.at(-2) == packet.TypeIPv6 }
func (m moment) protocol() int  { return m.at(8) & 0xff }
func (m moment) to() int        { return m.at(6) >> 8 } // the next header
func (m moment) forwards() bool { return m.Outcome == oracle.Forward }
func (m moment) transport() int { return (m.at(0) >> 8 & 0xf) * 4 }

func (m moment) isFirstFragment() bool { return m.isIPv4() && m.at(6)&0x3fff == 0x2000 }
func (m moment) isLaterFragment() bool { return m.isIPv4() && m.at(6)&0x1fff != 0 }

// put is another word in place of one.
func put(offset, word int) func([]byte) {
	return func(frame []byte) { binary.BigEndian.PutUint16(frame[14+offset:], uint16(word)) }
}

// Bytes behind a fragment's end would name a backend.
func namedByPadding(m moment) bool {
	return m.forwards() && m.isFirstFragment() && m.protocol() == packet.UDPIP && m.goesElsewhere(put(2, len(m.Arrival.Frame)-14))
}

// So would a connection ID in a datagram that is too short to be one.
func namedBelowEight(m moment) bool {
	length := m.transport() + 4
	return m.forwards() && m.isFirstFragment() && m.protocol() == packet.UDPIP && m.at(length) < 8 && m.goesElsewhere(put(length, 0xffff))
}

func (m moment) goesElsewhere(change func([]byte)) bool {
	other := m.otherwise(change)
	return other.Outcome == oracle.Forward && other.Backend != m.Backend
}

// To one host, the request would have another outcome.
func (m moment) isEchoToGroup(alone oracle.Outcome) bool {
	return m.Outcome == oracle.PassICMP && m.Arrival.Frame[0]&1 == 1 && m.otherwise(func(frame []byte) { frame[0] &^= 1 }).Outcome == alone
}

func isLyingFragmentOfTheHost(m moment) bool {
	way, known := m.way()
	return m.Outcome == oracle.PassNotVIP && known && way.Backend == dataplane.NoBackend && m.at(2) > len(m.Arrival.Frame)-14
}

// One of two entries of a flow is renewed. An expired one that nobody swept away
// looks young again after 2^14 seconds.
func hasTwoEntries(m moment) bool {
	for i, word := range m.Tables.Flows {
		flow := dataplane.Flow(word)
		bucket := m.Tables.Flows[i&^(dataplane.FlowsPerBucket-1):][:dataplane.FlowsPerBucket]
		if word == m.before[i] || dataplane.Flow(m.before[i]).Digest() != flow.Digest() {
			continue
		}
		for j, other := range bucket {
			twin := dataplane.Flow(other)
			if j != i%dataplane.FlowsPerBucket && other != 0 && twin.Digest() == flow.Digest() && !twin.Expired(m.Second) {
				return true
			}
		}
	}
	return false
}

func isFragmentToTheDead(m moment) bool {
	way, known := m.way()
	held := m.Outcome == oracle.HoldFragment || m.Outcome == oracle.DropFragment
	return held && known && m.Second-way.Second <= 10
}

func isFirstFragmentToTheDead(m moment) bool {
	vip, found := m.vip()
	if !found || m.Outcome != oracle.DropNoBackend || !m.isFirstFragment() {
		return false
	}
	return m.bySlot(vip) != dataplane.NoBackend
}

// way is where the first of a later fragment went.
func (m moment) way() (way oracle.FragmentWay, known bool) {
	if !m.isLaterFragment() {
		return way, false
	}
	source, destination := m.addresses()
	way, known = m.Balancer.Fragments[oracle.FragmentKey{
		Source: source, Destination: destination, Protocol: uint8(m.protocol()), ID: uint32(m.at(4)),
	}]
	return way, known
}

func (m moment) addresses() (source, destination netip.Addr) {
	return netip.AddrFrom4([4]byte(m.Arrival.Frame[26:])), netip.AddrFrom4([4]byte(m.Arrival.Frame[30:]))
}

// flow is that of an IPv4 packet that begins with ports.
func (m moment) flow() (flow fake.Packet) {
	source, destination := m.addresses()
	return fake.Packet{
		Client: netip.AddrPortFrom(source, uint16(m.at(m.transport()))),
		VIP:    dataplane.VIP{Addr: destination, Port: uint16(m.at(m.transport() + 2)), Protocol: dataplane.Protocol(m.protocol())},
	}
}

func (m moment) vip() (dataplane.VIP, bool) {
	if !m.isIPv4() || m.isLaterFragment() {
		return dataplane.VIP{}, false
	}
	return m.FindVIP(m.flow().VIP)
}

// bySlot is where a packet's flow goes that names nobody.
func (m moment) bySlot(vip dataplane.VIP) uint32 {
	return m.Flows.Look(m.flow(), m.Tables.VIPs[vip], m.Second)
}

func (m moment) isNamed(vip dataplane.VIP) bool {
	return m.Tables.VIPs[vip].QUIC.Length > 0 && m.bySlot(vip) != m.Backend
}

func (m moment) isForWide(is func(dataplane.VIP) bool) bool {
	vip, found := m.vip()
	return found && vip.IsWide() && m.forwards() && is(vip)
}

func (m moment) goesBy(forward dataplane.Forward, v6 bool, tags int) bool {
	if !m.forwards() {
		return false
	}
	backend := m.Tables.Backends[m.Backend]
	has := 0
	for _, tag := range backend.Hop.VLAN {
		if tag != 0 {
			has++
		}
	}
	return backend.Forward == forward && backend.OuterFamilyV6() == v6 && has == tags
}

// wouldBeAnsweredLater tells whether a packet that was too big was only one too
// many.
func (m moment) wouldBeAnsweredLater() bool {
	return strings.HasPrefix(string(m.otherwise(func([]byte) {}).Outcome), "REPLY_TOO_BIG")
}

// isTooBigWithRoom tells whether a packet that found no room would have been
// answered with some.
func (m moment) isTooBigWithRoom() bool {
	b := oracle.New(m.Tables.Clone(), m.Hash, m.Settings)
	a := m.Arrival
	a.Headroom = wild.Plenty
	return strings.HasPrefix(string(b.Receive(a).Outcome), "REPLY_TOO_BIG")
}
