package wild_test

import (
	"encoding/binary"
	"fmt"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/packet"
)

// natKinds are the packets of nat that the corpus has a case of.
func natKinds() map[string]func(moment) bool {
	all := map[string]func(moment) bool{
		"differed-a-fragment-of-the-host-beside-nat": isFragmentOfTheHostBesideNAT,
		"differed-a-second-syn-ack": func(m moment) bool {
			return m.changes(func(was, is *oracle.Connection) bool {
				return was.State == oracle.SYNACK && is.State == oracle.SYNACK && was.ISN != is.ISN
			})
		},
		"differed-a-nat-backend-of-another-vip": isTooLongForABackendOfAnotherKind,
		"differed-an-error-of-an-unknown-code":  isErrorOfUnknownCode,
		"differed-a-tag-of-zeroes": func(m moment) bool {
			return m.translates() && m.at(-2) == packet.TypeTag && m.at(0)&0xefff == 0 && m.at(2) == packet.TypeTag && m.at(4)&0xefff != 0
		},
		"differed-a-quoted-sum-of-all-ones": func(m moment) bool {
			frame := m.Fate.Frame
			return m.translates() && m.isIPv4() && m.protocol() == packet.ICMP && len(frame) >= 14+20+8+20+8 &&
				frame[12] == 8 && frame[14+9] == packet.ICMP && frame[14+28+9] == packet.UDPIP && binary.BigEndian.Uint16(frame[14+20+8+20+6:]) == 0xffff
		},
		"nat-fragment-without-a-counterpart": func(m moment) bool {
			return m.Outcome == oracle.DropNATFamily && m.isFirstFragment()
		},
		"nat-fragment-that-follows-none-with-a-counterpart": func(m moment) bool {
			return m.Outcome == oracle.DropNATFamily && m.isLaterFragment()
		},
		"nat-fragment-grows-a-header": func(m moment) bool {
			return m.isTranslatedFragment(oracle.Forward, packet.TypeIPv4, packet.TypeIPv6, false)
		},
		"nat-fragment-of-an-answer-loses-its-header": func(m moment) bool {
			return m.isTranslatedFragment(oracle.ReplyBackend, packet.TypeIPv6, packet.TypeIPv4, false)
		},
		"nat-fragment-follows": func(m moment) bool {
			return m.isTranslatedFragment(oracle.Forward, packet.TypeIPv4, packet.TypeIPv4, true)
		},
		"nat-routed-by-an-option": func(m moment) bool { return m.Outcome == oracle.ReplySourceRoute && m.isIPv4() },
		"nat-routed-by-a-header":  func(m moment) bool { return m.Outcome == oracle.ReplySourceRoute && m.isIPv6() },
		"nat-fragment-routed":     func(m moment) bool { return m.Outcome == oracle.ReplySourceRoute && m.isFirstFragment() },
		"nat-sealed":              func(m moment) bool { return m.Outcome == oracle.DropNATFamily && m.isIPv6() && m.to() == packet.AH },
		"nat-error-that-is-damaged": func(m moment) bool {
			return m.Outcome == oracle.DropBadChecksum && m.isIPv4() && m.protocol() == packet.ICMP
		},
		"nat-error-that-is-routed": func(m moment) bool {
			return m.Outcome == oracle.DropNATFamily && m.isIPv4() && m.protocol() == packet.ICMP && m.at(20)>>8|6 == 137|6
		},
		"nat-error-without-hops": func(m moment) bool {
			return m.Outcome == oracle.DropTTL && m.isIPv4() && m.protocol() == packet.ICMP && m.at(8)>>8 == 0
		},
		"nat-begins": func(m moment) bool { return m.begins(func(is *oracle.Connection) bool { return true }) },
		"nat-pushes-a-half-open-one-out": func(m moment) bool {
			for place, was := range m.connections {
				is := m.place(place)
				if was != nil && is != nil && was.Client != is.Client && was.Expires >= m.Second {
					return true
				}
			}
			return false
		},
		"nat-goes-on-as-a-new-one": func(m moment) bool {
			return m.changes(func(was, is *oracle.Connection) bool { return was.State == oracle.LastAck && is.State == oracle.SYN })
		},
		"nat-revives-after-a-forged-reset": func(m moment) bool {
			return m.changes(func(was, is *oracle.Connection) bool {
				return was.State == oracle.ResetByClient && is.State == oracle.Established
			})
		},
		"nat-to-a-backend-that-is-its-client": func(m moment) bool {
			return m.begins(func(is *oracle.Connection) bool { return is.Client.Addr() == is.Backend.Addr() })
		},
		"nat-back-by-another-interface": func(m moment) bool { return m.Outcome == oracle.ReplyBackend && m.Verdict == oracle.Redirect },
		"nat-answer-too-long":           func(m moment) bool { return m.isTooBig() && m.isAnswer() },
	}
	for _, state := range []oracle.State{
		oracle.SYNACK, oracle.Answered, oracle.Established, oracle.Stream, oracle.FINByClient, oracle.FINByBackend,
		oracle.LastAck, oracle.TimeWait, oracle.ResetByClient, oracle.ResetByBackend, oracle.Retired,
	} {
		all["nat-becomes-"+string(state)] = func(m moment) bool {
			return m.changes(func(was, is *oracle.Connection) bool { return was.State != state && is.State == state })
		}
	}
	for _, from := range []int{packet.TypeIPv4, packet.TypeIPv6} {
		for _, to := range []int{packet.TypeIPv4, packet.TypeIPv6} {
			for _, protocol := range []int{packet.TCPIP, packet.UDPIP, packet.ICMP} {
				for _, outcome := range []oracle.Outcome{oracle.Forward, oracle.ReplyBackend} {
					name := fmt.Sprintf("nat-%s-%04x-to-%04x-of-%d", map[bool]string{true: "request", false: "answer"}[outcome == oracle.Forward], from, to, protocol)
					all[name] = func(m moment) bool { return m.isTranslated(outcome, from, to, protocol) }
				}
			}
		}
	}
	return all
}

// livesKinds are the packets in lives that their corpus has a case of.
func livesKinds() map[string]func(moment) bool {
	becomes := func(from, to oracle.State) func(moment) bool {
		return func(m moment) bool {
			return m.changes(func(was, is *oracle.Connection) bool { return was.State == from && is.State == to })
		}
	}
	return map[string]func(moment) bool{
		"pushes-a-half-open-one-out": natKinds()["nat-pushes-a-half-open-one-out"],
		"finds-no-port":              func(m moment) bool { return m.Outcome == oracle.DropNATPorts },
		"closes-the-client-first":    becomes(oracle.FINByClient, oracle.LastAck),
		"closes-at-the-same-time":    becomes(oracle.LastAck, oracle.TimeWait),
		"begins-anew-once-closed":    becomes(oracle.TimeWait, oracle.SYN),
		"is-retired-once-closed":     becomes(oracle.TimeWait, oracle.Retired),
		"revives":                    becomes(oracle.ResetByBackend, oracle.Established),
		"streams":                    becomes(oracle.Answered, oracle.Stream),
		"is-of-a-backend-that-died": func(m moment) bool {
			return m.Outcome == oracle.DropNoConnection && m.changes(func(was, is *oracle.Connection) bool {
				return is.Client == m.flow().Client && is.State == oracle.Established && m.Tables.Backends[is.Index].Dead
			})
		},
	}
}

func (m moment) place(i int) *oracle.Connection {
	return m.Balancer.Connections.Lines[i/len(oracle.Line{})][i%len(oracle.Line{})]
}

// changes tells whether a connection has gone on by this packet so.
func (m moment) changes(so func(was, is *oracle.Connection) bool) bool {
	for place, was := range m.connections {
		is := m.place(place)
		if was != nil && is != nil && was.Client == is.Client && was.Protocol == is.Protocol && was.Expires >= m.Second && so(was, is) {
			return true
		}
	}
	return false
}

// begins tells whether a connection has begun by this packet that is so.
func (m moment) begins(so func(is *oracle.Connection) bool) bool {
	for place, was := range m.connections {
		if is := m.place(place); was == nil && is != nil && so(is) {
			return true
		}
	}
	return false
}

func (m moment) translates() bool {
	return m.Outcome == oracle.ReplyBackend || m.forwards() && m.Tables.Backends[m.Backend].Forward == dataplane.NAT
}

// isTranslated looks at packets whose frames have no tags.
func (m moment) isTranslated(outcome oracle.Outcome, from, to, protocol int) bool {
	frame := m.Fate.Frame
	if !m.translates() || m.Outcome != outcome || m.at(-2) != from || int(binary.BigEndian.Uint16(frame[12:])) != to {
		return false
	}
	if to == packet.TypeIPv4 {
		return int(frame[14+9]) == protocol
	}
	return int(frame[14+6]) == protocol || protocol == packet.ICMP && frame[14+6] == packet.ICMPv6
}

// isTranslatedFragment likewise.
func (m moment) isTranslatedFragment(outcome oracle.Outcome, from, to int, later bool) bool {
	frame := m.Fate.Frame
	if !m.translates() || m.Outcome != outcome || m.at(-2) != from || int(binary.BigEndian.Uint16(frame[12:])) != to {
		return false
	}
	if to == packet.TypeIPv4 {
		bits := binary.BigEndian.Uint16(frame[14+6:])
		return bits&0x3fff != 0 && bits&0x1fff != 0 == later
	}
	return frame[14+6] == packet.Fragment && binary.BigEndian.Uint16(frame[14+42:])&0xfff9 != 0 &&
		binary.BigEndian.Uint16(frame[14+42:])&0xfff8 != 0 == later
}

func isFragmentOfTheHostBesideNAT(m moment) bool {
	if !m.isFirstFragment() {
		return false
	}
	source, destination := m.addresses()
	way, known := m.Balancer.Fragments[oracle.FragmentKey{Source: source, Destination: destination, Protocol: uint8(m.protocol()), ID: uint32(m.at(4))}]
	return m.Outcome == oracle.PassNotVIP && m.Tables.SeesNAT && known && way.Backend == dataplane.NoBackend && way.Second == m.Second
}

func isTooLongForABackendOfAnotherKind(m moment) bool {
	vip, found := m.vip()
	if !found || m.Outcome != oracle.DropNoBackend || m.Tables.VIPs[vip].NAT || m.isFirstFragment() {
		return false
	}
	backend := m.Tables.Backends[m.bySlot(vip)]
	return backend.Forward == dataplane.NAT && !backend.Dead && m.at(2) > int(backend.Hop.MTU)
}

func isErrorOfUnknownCode(m moment) bool {
	kind, code := m.at(m.transport())>>8, m.at(m.transport())&0xff
	return m.Outcome == oracle.DropNATFamily && m.isIPv4() && m.protocol() == packet.ICMP && kind == 3 && code > 15
}

func (m moment) isTooBig() bool {
	return m.Outcome == oracle.ReplyTooBig || m.Outcome == oracle.ReplyTooBigNoDF
}

// isAnswer tells whether an IPv4 packet is to no VIP.
func (m moment) isAnswer() bool {
	if !m.isIPv4() || m.isLaterFragment() {
		return false
	}
	_, found := m.FindVIP(m.flow().VIP)
	return !found
}
