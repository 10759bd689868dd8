package kernel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// A life is packets of one TCP connection, in words: who sends what, or how many
// seconds go by. The client is c, the backend b; "c:A!" is an ACK of something
// else than the backend has sent.
func (s *natStage) live(t *testing.T, client uint16, life string) dataplane.Connection {
	t.Helper()
	from, to := netip.AddrPortFrom(client4, client), netip.AddrPortFrom(vip4, 80)
	var got talk
	for word := range strings.FieldsSeq(life) {
		who, what, _ := strings.Cut(word, ":")
		switch who {
		case "c":
			p := talk{from: from, to: to, protocol: dataplane.TCP, flags: strings.TrimSuffix(what, "!"), seq: 1001, ack: 5001}
			if strings.HasSuffix(what, "!") {
				p.ack = 1 << 30
			}
			got = s.request(p)
		case "b":
			s.reply(answer(got, what, ""))
		case "wait":
			var seconds uint32
			if _, err := fmt.Sscan(what, &seconds); err != nil {
				t.Fatal(err)
			}
			s.wait(seconds)
		}
	}
	return s.connections()[from]
}

const opened = "c:S b:SA c:A "

// Each row is a life, the state that it leads to, and for how many seconds of
// silence that lasts.
func TestPrivilegedAConnectionLivesAsItsPacketsSay(t *testing.T) {
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend4))
	for i, row := range []struct {
		life, state string
		lasts       uint32
	}{
		{"c:S", "syn", 8},
		{"c:S wait:5 c:S", "syn", 8},
		{"c:S wait:5 c:A", "syn", 3},
		{"c:S b:SA", "syn-ack", 8},
		{"c:S b:SA wait:5 b:SA", "syn-ack", 3},
		{"c:S b:SA wait:5 c:A!", "syn-ack", 3},
		{"c:S wait:5 b:RA", "syn", 3},
		{"c:S b:SA wait:5 c:R", "syn-ack", 3},
		{opened, "established", 7440},
		{opened + "wait:7000 b:A", "established", 7440},
		{opened + "wait:7000 c:A!", "established", 7440},
		{opened + "wait:100 c:S", "established", 7340},
		{opened + "c:FA", "fin-client", 240},
		{opened + "b:FA", "fin-backend", 240},
		{opened + "c:FA b:A wait:100 b:A", "fin-client", 240},
		{opened + "c:FA b:FA", "last-ack", 10},
		{opened + "c:FA b:FA c:A wait:5 b:FA", "last-ack", 10},
		{opened + "c:FA b:FA b:A", "time-wait", 60}, // of both, which closed at the same time
		{opened + "b:FA c:FA", "time-wait", 60},
		{opened + "b:FA c:FA b:A wait:30 c:FA", "time-wait", 60},
		{opened + "c:RA", "reset-client", 60},
		{opened + "b:R", "reset-backend", 60},
		{opened + "c:R wait:1 c:A", "reset-client", 59},
		{opened + "c:R wait:5 b:A", "reset-client", 55},
		{opened + "c:R wait:5 c:A", "established", 7440},
		{opened + "b:R wait:5 b:A", "established", 7440},
		{opened + "b:FA c:FA c:R", "time-wait", 60},
		{opened + "b:FA c:FA wait:5 c:S", "syn", 8},
		{opened + "c:R wait:5 c:S b:SA c:A", "established", 7440},
	} {
		t.Run(row.life, func(t *testing.T) {
			client := uint16(30000 + i)
			begun := monotonicSecond() + s.skew
			c := s.live(t, client, row.life)
			now := monotonicSecond() + s.skew
			if c.State != row.state {
				t.Fatalf("the connection is %+v, want it %s", c, row.state)
			}
			// Expires is the first second without it.
			lasts, slack := c.Expires-1-now, now-begun // at most: seconds that went by meanwhile
			if lasts > row.lasts+slack || lasts+slack+1 < row.lasts {
				t.Errorf("it lasts %d seconds more, want %d", lasts, row.lasts)
			}
			s.wait(c.Expires - now + 1) // the program's clock is a coarse one, and may be late
			if c, there := s.connections()[c.Client]; there {
				t.Errorf("it is still there: %+v", c)
			}
			s.refuse(talk{from: c.Client, to: c.VIP, protocol: dataplane.TCP, flags: "A"}, "DROP_NO_CONNECTION")
		})
	}
}

func TestPrivilegedADatagramKeepsItsConnection(t *testing.T) {
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend6))
	sent := talk{from: netip.AddrPortFrom(client4, 40000), to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.UDP, payload: "question"}
	var got talk
	for _, row := range []struct {
		does  func(talk) talk
		state string
	}{
		{func(talk) talk { return s.request(sent) }, "one-way"},
		{func(got talk) talk { s.reply(answer(got, "", "yes")); return got }, "answered"},
		{func(got talk) talk { s.reply(answer(got, "", "and no")); return got }, "answered"},
		{func(talk) talk { return s.request(sent) }, "stream"},
	} {
		got = row.does(got)
		if c := s.connections()[sent.from]; c.State != row.state {
			t.Fatalf("the connection is %+v, want it %s", c, row.state)
		}
	}
}
