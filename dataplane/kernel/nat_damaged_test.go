package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// damaged is a packet whose IPv4 header has another TOS than its checksum is of.
func damaged(frame []byte) []byte {
	frame = bytes.Clone(frame)
	frame[14+1] ^= 4
	return frame
}

// isWrong tells whether the IPv4 header of a frame, which has no options, is damaged.
func isWrong(frame []byte) bool { return frame[12] == 8 && sum16(frame[14:34]) != 0xffff }

// A header that is written anew would be right whatever became of the old one on its
// way (RFC 1812, section 5.2.2).
func TestPrivilegedADamagedIPv4HeaderIsNotHealed(t *testing.T) {
	for _, mix := range natMixes {
		t.Run(mix.name, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
			ask := talk{from: netip.AddrPortFrom(mix.client, 40000), to: netip.AddrPortFrom(mix.vip, 80), protocol: dataplane.UDP}
			p := piecesOf(t, s, ask)
			ask.payload = "hello, backend"
			asked := s.request(ask)
			reply := answer(asked, "", "hello, client")
			reply.seq, reply.ack = 0, 0
			reply.macs = [2]string{string(nextHopMAC), string(egressMAC)}
			replied := s.reply(reply).frame(t)
			crosses := mix.vip.Is4() != mix.backend.Is4()
			for _, row := range []struct {
				says   string
				first  []byte // before it
				frame  []byte
				anew   bool // whether its header is written anew
				counts string
			}{
				{"a request", nil, ask.frame(t), crosses, "backend 1"},
				{"a first fragment", nil, p.request[0], crosses, "backend 1"},
				{"a later fragment", p.request[0], p.request[1], crosses, "backend 1"},
				{"an answer", nil, reply.frame(t), crosses, "REPLY_BACKEND"},
				{"a first fragment of an answer", nil, p.reply[0], crosses, "REPLY_BACKEND"},
				{"a later fragment of an answer", p.reply[0], p.reply[1], crosses, "REPLY_BACKEND"},
				{"an error of the client's side", nil, routerSays(t, mix.client.Next(), replied, 1400), true, "backend 1"},
				{"an error of the backend's side", nil, routerSays(t, mix.backend.Next(), asked.frame(t), 1400), true, "REPLY_BACKEND"},
			} {
				t.Run(row.says, func(t *testing.T) {
					send := func(frame []byte) result {
						p.forgetFragments()
						if row.first != nil {
							p.send(row.first)
						}
						return p.send(frame)
					}
					if got := send(row.frame); !maps.Equal(got.moved, map[string]uint64{row.counts: 1}) {
						t.Fatalf("undamaged, counters move by %v", got.moved)
					}
					if row.frame[12] != 8 {
						return // IPv6 has no checksum
					}
					got := send(damaged(row.frame))
					want := row.counts
					if row.anew {
						want = "DROP_BAD_CHECKSUM"
					}
					if !maps.Equal(got.moved, map[string]uint64{want: 1}) {
						t.Errorf("counters moved by %v, want %s", got.moved, want)
					}
					if !row.anew && !isWrong(got.frame) {
						t.Errorf("it has become right:\n%x", got.frame)
					}
				})
			}
		})
	}
}

// Options are summed up, too, and a first fragment that is damaged is not remembered:
// its identification may be what is wrong.
func TestPrivilegedDamageIsFoundInAllOfAnIPv4Header(t *testing.T) {
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend6))
	counts := func(says string, frame []byte, want string) {
		t.Helper()
		if got := s.send(frame); !maps.Equal(got.moved, map[string]uint64{want: 1}) {
			t.Errorf("%s: counters moved by %v, want %s", says, got.moved, want)
		}
	}
	for _, size := range []int{0, 4, 20, 40} {
		whole := frame(ip4(options(size)), udp(80, 20))
		counts("undamaged", whole, "backend 1")
		for at := 0; at < 20+size; at++ {
			switch at {
			case 0, 2, 3, 6, 7, 9, 12, 13, 14, 15, 16, 17, 18, 19: // it is another packet then
				continue
			}
			hurt := bytes.Clone(whole)
			hurt[14+at] ^= 2
			counts("a byte of the header has changed", hurt, "DROP_BAD_CHECKSUM")
		}
		hurt := bytes.Clone(whole)
		binary.BigEndian.PutUint32(hurt[14+12:], binary.BigEndian.Uint32(hurt[14+12:])+1)
		counts("it comes from another client", hurt, "DROP_BAD_CHECKSUM")
	}
	first, later := ip4(part(0, true)), ip4(part(8, false))
	later.Protocol = packet.UDPIP
	counts("a first fragment", damaged(frame(first, udp(80, 56))), "DROP_BAD_CHECKSUM")
	counts("what follows it", header().Frame(later.Packet(make([]byte, 24))), "DROP_FRAGMENT")
}
