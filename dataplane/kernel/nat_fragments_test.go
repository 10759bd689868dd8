package kernel

import (
	"bytes"
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// Loading the program is what takes time, so each mix of families has one stage.
func TestPrivilegedFragmentsOfAConnection(t *testing.T) {
	for _, mix := range natMixes {
		t.Run(mix.name, func(t *testing.T) {
			s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(mix.backend))
			asked := talk{from: netip.AddrPortFrom(mix.client, 40000), to: netip.AddrPortFrom(mix.vip, 80), protocol: dataplane.UDP}
			t.Run("follow their first, of UDP", func(t *testing.T) { piecesOf(t, s, asked).follow(t) })
			segment := asked
			segment.protocol, segment.flags, segment.seq, segment.ack = dataplane.TCP, "A", 1001, 5001
			t.Run("follow their first, of TCP", func(t *testing.T) { piecesOf(t, s, segment).follow(t) })
			t.Run("meet their fate by name", func(t *testing.T) { piecesOf(t, s, asked).meetTheirFates(t, mix.vip, mix.backend, mix.source) })
			t.Run("are told of in their sender's family", func(t *testing.T) { piecesOf(t, s, asked).areToldOf(t, mix.vip, mix.backend, mix.source) })
			t.Run("are held before their first", func(t *testing.T) { piecesOf(t, s, asked).areHeld(t, mix.backend, mix.source) })
		})
	}
}

func (p natPieces) follow(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}} {
		p.become(t, "backend 1", p.request, p.requestGone, order...)
		p.become(t, "REPLY_BACKEND", p.reply, p.replyHas, order...)
	}
}

func TestPrivilegedFragmentsAndTheirConnection(t *testing.T) {
	s := newNAT(t, natOptions(t, 0), dataplane.DefaultNATSettings(), natBackend(backend4))
	t.Run("begins with them", func(t *testing.T) { fragmentsBeginAConnection(t, s) })
	t.Run("is not mixed with another's", func(t *testing.T) { fragmentsOfTwoClientsKeepApart(t, s) })
	t.Run("does not change by those beyond the first", func(t *testing.T) { laterFragmentsLeaveNoTrace(t, s) })
	t.Run("ends, and they with it", func(t *testing.T) { fragmentsEndWithTheirConnection(t, s) })
}

// A datagram in fragments may be a connection's first packet.
func fragmentsBeginAConnection(t *testing.T, s *natStage) {
	asks := lengthen(talk{from: netip.AddrPortFrom(client4, 40000), to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.UDP})
	for i, piece := range cutUp(asks.frame(t), 7) {
		if got := s.send(piece); got.moved["backend 1"] != 1 {
			t.Errorf("fragment %d: counters moved by %v", i, got.moved)
		}
	}
	if c := s.connections()[asks.from]; c.State != "one-way" {
		t.Errorf("the connection is %+v", c)
	}
}

// Two senders use one identification; what leaves must not be taken for one packet.
func fragmentsOfTwoClientsKeepApart(t *testing.T, s *natStage) {
	var ids [][]byte
	for _, client := range []netip.Addr{client4, client4.Next()} {
		asks := lengthen(talk{from: netip.AddrPortFrom(client, 40000), to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.UDP})
		pieces := cutUp(asks.frame(t), 7)
		first, last := s.send(pieces[0]).frame, s.send(pieces[2]).frame
		if !bytes.Equal(first[18:20], last[18:20]) {
			t.Errorf("one packet's fragments have the identifications %x and %x", first[18:20], last[18:20])
		}
		ids = append(ids, first[18:20])
	}
	if slices.Equal(ids[0], ids[1]) {
		t.Errorf("both clients' fragments have the identification %x", ids[0])
	}
}

// They are of their first's connection, and say nothing new about it.
func laterFragmentsLeaveNoTrace(t *testing.T, s *natStage) {
	p := piecesOf(t, s, talk{from: netip.AddrPortFrom(client4, 40000), to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.UDP})
	p.become(t, "backend 1", p.request, p.requestGone, 0)
	p.become(t, "REPLY_BACKEND", p.reply, p.replyHas, 0)
	before := s.connections()[p.asked.from]
	s.wait(5)
	strange := bytes.Clone(p.request[1])
	copy(strange[6:12], []byte{2, 0, 0, 0, 0, 99}) // of another router: no way back is learnt
	if got := s.send(strange); got.moved["backend 1"] != 1 {
		t.Errorf("counters moved by %v", got.moved)
	}
	p.become(t, "REPLY_BACKEND", p.reply, p.replyHas, 1, 2)
	if after := s.connections()[p.asked.from]; after != before {
		t.Errorf("the connection was\n%+v and is\n%+v", before, after)
	}
}

// Each row is what came before, a fragment, and the counter that moves.
func (p natPieces) meetTheirFates(t *testing.T, vip, backend, source netip.Addr) {
	type row struct {
		says   string
		before [][]byte
		frame  []byte
		counts string
	}
	crossing := vip.Is4() != backend.Is4()
	otherwise := func(cross, straight string) string {
		if crossing {
			return cross
		}
		return straight
	}
	noSum := p.asked
	noSum.noSum = true
	unsummed := cutUp(noSum.frame(t), 9)
	segments := lengthen(talk{from: netip.AddrPortFrom(p.asked.from.Addr(), 40001), to: p.asked.to, protocol: dataplane.TCP, flags: "A"})
	unknown := cutUp(segments.frame(t), 9)
	hosts := lengthen(talk{from: netip.AddrPortFrom(backend, natPort), to: netip.AddrPortFrom(source, 7), protocol: dataplane.UDP})
	own := cutUp(hosts.frame(t), 9)

	rows := []row{
		{"a client's follows its first", p.request[:1], p.request[1], "backend 1"},
		{"a backend's follows its first", p.reply[:1], p.reply[1], "REPLY_BACKEND"},
		{"a client's before its first", nil, p.request[1], "DROP_FRAGMENT"},
		{"a backend's before its first", nil, p.reply[1], "PASS_NOT_VIP"},
		{"a length that lies", p.request[:1], lying(p.request[1]), "DROP_BAD_LENGTH"},
		{"a length that lies, of an answer", p.reply[:1], lying(p.reply[1]), "DROP_BAD_LENGTH"},
		{"a length that lies, of an answer before its first", nil, lying(p.reply[1]), "PASS_NOT_VIP"},
		{"on its last hop", p.request[:1], onItsLastHop(p.request[1]), "DROP_TTL"},
		{"an answer on its last hop", p.reply[:1], onItsLastHop(p.reply[1]), "DROP_TTL"},
		{"the first of no connection", nil, unknown[0], "DROP_NO_CONNECTION"},
		{"one whose first is of no connection", unknown[:1], unknown[1], "DROP_FRAGMENT"},
		{"a backend's, to the host itself", own[:1], own[1], "PASS_NOT_VIP"},
		{"too long", p.request[:1], longer(p.request[1]), "DROP_TOO_BIG"},
	}
	if vip.Is4() {
		wants := otherwise("DROP_NAT_FAMILY", "backend 1")
		rows = append(rows,
			row{"the first of a datagram without a checksum", nil, unsummed[0], wants},
			row{"and what follows it", unsummed[:1], unsummed[1], wants},
			row{"the first, too long", nil, longer(p.request[0]), "REPLY_TOO_BIG_NO_DF"},
		)
	} else {
		behind := [][]byte{behindOptions(p.request[0]), behindOptions(p.request[1])}
		wants := otherwise("DROP_NAT_FAMILY", "backend 1")
		rows = append(rows,
			row{"the first, with options behind the fragment header", nil, behind[0], wants},
			row{"and what follows it", behind[:1], behind[1], wants},
			row{"the first, too long", nil, longer(p.request[0]), "REPLY_TOO_BIG"},
		)
	}
	for _, row := range rows {
		t.Run(row.says, func(t *testing.T) {
			p.forgetFragments()
			for _, frame := range row.before {
				p.send(frame)
			}
			if got := p.send(row.frame); !maps.Equal(got.moved, map[string]uint64{row.counts: 1}) {
				t.Errorf("counters moved by %v, want %s", got.moved, row.counts)
			}
		})
	}
}

// What a first fragment has led to ends with its connection, and with its backend.
func fragmentsEndWithTheirConnection(t *testing.T, s *natStage) {
	begins := talk{from: netip.AddrPortFrom(client4, 40000), to: netip.AddrPortFrom(vip4, 80), protocol: dataplane.TCP, flags: "S", seq: 1000}
	got := s.request(begins)
	goesOn := lengthen(begins)
	goesOn.flags = "A"
	request, reply := cutUp(goesOn.frame(t), 7), cutUp(lengthen(answer(got, "A", "")).frame(t), 7)
	counts := func(when string, frame []byte, counter string) {
		t.Helper()
		if got := s.send(frame); !maps.Equal(got.moved, map[string]uint64{counter: 1}) {
			t.Errorf("%s counters moved by %v, want %s", when, got.moved, counter)
		}
	}
	counts("the first:", request[0], "backend 1")
	counts("the first of an answer:", reply[0], "REPLY_BACKEND")
	counts("at once", request[1], "backend 1")
	counts("at once", reply[1], "REPLY_BACKEND")
	s.wait(9) // longer than a SYN alone lives, and less than a first fragment is remembered
	counts("when the connection has expired", request[1], "DROP_FRAGMENT")
	counts("when the connection has expired", reply[1], "PASS_NOT_VIP")
	s.request(begins)
	counts("when there is another", request[1], "DROP_FRAGMENT")
	counts("when there is another", reply[1], "PASS_NOT_VIP")
	counts("the first of that", request[0], "backend 1")
	s.serve()
	counts("when its backend is gone", request[1], "DROP_FRAGMENT")
}

// What is held is what may be a backend's: the host's own comes through unharmed.
func (p natPieces) areHeld(t *testing.T, backend, source netip.Addr) {
	held := p.harness.holding(t)
	p.forgetFragments()
	expect(t, p.send(p.reply[2]), xdpDrop, p.reply[2], "HOLD_FRAGMENT")
	early, err := held.Read()
	if err != nil {
		t.Fatal(err)
	}
	p.become(t, "REPLY_BACKEND", p.reply, p.replyHas, 0, 1)
	if moved := again(t, p.harness, held, early); moved["REPLY_BACKEND"] != 1 || len(moved) != 1 {
		t.Errorf("sent again it is counted as %v", moved)
	}

	p.forgetFragments()
	if moved := again(t, p.harness, held, early); moved["PASS_NOT_VIP"] != 1 || len(moved) != 1 {
		t.Errorf("sent again without its first it is counted as %v", moved)
	}
	own := cutUp(lengthen(talk{
		from: netip.AddrPortFrom(backend, natPort), to: netip.AddrPortFrom(source, 7), protocol: dataplane.UDP,
	}).frame(t), 9)
	expect(t, p.send(own[0]), xdpPass, own[0], "PASS_NOT_VIP")
	expect(t, p.send(own[1]), xdpPass, own[1], "PASS_NOT_VIP")

	strangers := cutUp(lengthen(talk{
		from: netip.AddrPortFrom(backend.Next(), natPort), to: netip.AddrPortFrom(source, 7), protocol: dataplane.UDP,
	}).frame(t), 9)
	expect(t, p.send(strangers[1]), xdpPass, strangers[1], "PASS_NOT_VIP")
	p.apply(dataplane.SeeNAT{On: false})
	expect(t, p.send(p.reply[2]), xdpPass, p.reply[2], "PASS_NOT_VIP")
}

// Whose answers may come follows from the backends that there are.
func TestPrivilegedFragmentsAreHeldForTheBackendsThatThereAre(t *testing.T) {
	inNamespace(t)
	options := natOptions(t, 0)
	s := newNAT(t, options, dataplane.DefaultNATSettings(), natBackend(backend4), natBackend(backend6))
	noted := func(plane *DataPlane) (all []netip.Addr) {
		err := each(plane.objects.NatBackends, func(key lbVipAddress, _ uint32) { all = append(all, decodeAddress(key.Address)) })
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(all, netip.Addr.Compare)
		return all
	}
	if got := noted(s.plane); !slices.Equal(got, []netip.Addr{backend4, backend6}) {
		t.Errorf("noted are %v", got)
	}
	other := natBackend(backend6)
	other.Port = natPort + 1
	s.serve(natBackend(backend6), other)
	for index, backend := range s.tables.Backends {
		if backend.Addr == backend4 || backend.Port == other.Port {
			s.apply(dataplane.DeleteBackend{Index: index})
		}
	}
	if got := noted(s.plane); !slices.Equal(got, []netip.Addr{backend6}) {
		t.Errorf("when one is buried, and one of two of another host, noted are %v", got)
	}
	if _, err := s.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	next, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if got := noted(next); !slices.Equal(got, []netip.Addr{backend6}) {
		t.Errorf("the next process has noted %v", got)
	}
}

// The quote is what the receiver of the error had sent, identification and all.
func (p natPieces) areToldOf(t *testing.T, vip, backend, source netip.Addr) {
	client := p.asked.from.Addr()
	for _, told := range []struct {
		router   netip.Addr
		of       []byte // the first fragment as it left
		counts   string
		from, to netip.Addr
		sent     []byte // and as it came
	}{
		{backend.Next(), p.requestGone[0], "REPLY_BACKEND", vip, client, p.request[0]},
		{client.Next(), p.replyHas[0], "backend 1", source, backend, p.reply[0]},
	} {
		got := p.send(routerSays(t, told.router, told.of, 1400))
		if !maps.Equal(got.moved, map[string]uint64{told.counts: 1}) {
			t.Fatalf("counters moved by %v", got.moved)
		}
		from, to, quoted, mtu := hearTooBig(t, got.frame)
		if from != told.from || to != told.to {
			t.Errorf("it is from %s to %s, want %s and %s", from, to, told.from, told.to)
		}
		want := uint32(1400)
		switch {
		case to.Is6() && told.router.Is4():
			want += 20 // whole packets grow by less than fragments
		case to.Is4() && told.router.Is6():
			want -= 28
		}
		if mtu != want {
			t.Errorf("%s hears of %d bytes, want %d", to, mtu, want)
		}
		if sent := asQuoted(told.sent, told.of, to); !bytes.HasPrefix(sent, quoted[14:]) {
			t.Errorf("%s hears of\n%x, and had sent\n%x", to, quoted[14:], sent)
		}
	}
}

// asQuoted is the packet that was sent, one hop later. What has passed IPv4 has no
// more of its identification than fits there.
func asQuoted(sent, gone []byte, sender netip.Addr) []byte {
	return edited(sent, func(ip []byte) { ip[8]-- }, func(ip []byte) {
		ip[7]--
		if gone[12] == 8 {
			id := uint32(binary.BigEndian.Uint16(gone[18:])) - movedOn(0, sender)
			binary.BigEndian.PutUint32(ip[44:], id)
		}
	})[14:]
}
