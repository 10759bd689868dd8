package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/pointsman/pointsman/dataplane"
)

// natUpgrade is a balancer with connections, and the one that takes over from it.
type natUpgrade struct {
	t       *testing.T
	options Options
	old     *natStage
	last    map[netip.AddrPort]talk // what the backend got of each client
	log     strings.Builder
}

func newNATUpgrade(t *testing.T, connections uint32, settings dataplane.NATSettings) *natUpgrade {
	inNamespace(t)
	u := &natUpgrade{t: t, options: natOptions(t, connections), last: make(map[netip.AddrPort]talk)}
	u.options.Log = slog.New(slog.NewTextHandler(&u.log, nil))
	u.old = newNAT(t, u.options, settings, natBackend(backend4), natBackend(backend6), natBackend(backend4.Next()))
	if _, err := u.old.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	return u
}

// open makes the tables of the next process; the old program goes on.
func (u *natUpgrade) open() *natStage {
	u.t.Helper()
	plane, err := Open(u.options)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { plane.Close() })
	return &natStage{harness: harnessOn(u.t, plane), settings: u.old.settings}
}

func (u *natUpgrade) switchTo(next *natStage) {
	u.t.Helper()
	if _, err := next.plane.Attach([]string{"egress0"}); err != nil {
		u.t.Fatal(err)
	}
}

func (u *natUpgrade) client(i int) talk {
	p := knock(clientOf(i))
	if i%4 == 1 {
		p.from, p.to = netip.AddrPortFrom(client6, uint16(20000+i)), netip.AddrPortFrom(vip6, 80)
	}
	if i%8 == 2 {
		p.protocol, p.flags, p.seq = dataplane.UDP, "", 0
	}
	return p
}

// begin opens connections, which are of either family to either.
func (u *natUpgrade) begin(from, to int) {
	u.t.Helper()
	for i := from; i < to; i++ {
		p := u.client(i)
		u.last[p.from] = u.old.request(p)
		if p.protocol == dataplane.TCP {
			u.old.reply(answer(u.last[p.from], "SA", ""))
			p.flags, p.seq, p.ack = "A", 1001, 5001
		} else {
			u.old.reply(answer(u.last[p.from], "", "yes"))
		}
		u.old.request(p)
	}
}

// goOn fails unless all connections go on by the stage in both directions, with the
// same ends.
func (u *natUpgrade) goOn(s *natStage, from, to int) {
	u.t.Helper()
	for i := from; i < to; i++ {
		p := u.client(i)
		flags := ""
		if p.protocol == dataplane.TCP {
			p.flags, flags = "A", "A"
		}
		got := s.request(p)
		if want := u.last[p.from]; got.from != want.from || got.to != want.to {
			u.t.Fatalf("connection %d of %s was %s to %s and is %s to %s", i, p.from, want.from, want.to, got.from, got.to)
		}
		if back := s.reply(answer(got, flags, "")); back.from != p.to || back.to != p.from {
			u.t.Fatalf("connection %d of %s is answered by %s to %s", i, p.from, back.from, back.to)
		}
	}
}

// same holds that both know the same connections, whatever has become of them.
func (u *natUpgrade) same(now *natStage) {
	u.t.Helper()
	all := func(s *natStage) map[string]bool {
		known := make(map[string]bool)
		for c := range s.plane.Connections(monotonicSecond()) {
			known[fmt.Sprintf("%+v", c)] = true
		}
		return known
	}
	before, after := all(u.old), all(now)
	for c := range before {
		if !after[c] {
			u.t.Errorf("it is not known any more: %s", c)
		}
	}
	for c := range after {
		if !before[c] {
			u.t.Errorf("it was not there: %s", c)
		}
	}
}

func TestPrivilegedConnectionsGoOnInALargerTable(t *testing.T) {
	for _, row := range []struct {
		before, after uint32
		connections   int
	}{{64, 128, 50}, {4096, 1 << 16, 2000}} {
		t.Run(fmt.Sprintf("from %d to %d", row.before, row.after), func(t *testing.T) {
			u := newNATUpgrade(t, row.before, dataplane.DefaultNATSettings())
			half := row.connections / 2
			u.begin(0, half)
			u.options.Connections = row.after
			next := u.open()
			u.begin(half, row.connections) // the old program knows nothing of the next
			u.goOn(u.old, 0, row.connections)
			u.switchTo(next)
			if !strings.Contains(u.log.String(), `msg="the new program has taken over" lost=nothing`) {
				t.Errorf("something was lost: %s", u.log.String())
			}
			u.same(next)
			u.goOn(next, 0, row.connections)
			next.open(clientOf(1 << 17)) // and new ones begin
		})
	}
}

// A SYN that the old program gets after the new one has its last look would begin a
// connection that the new one does not know.
func TestPrivilegedNoConnectionBeginsUnseenWhileTheTableIsSwitched(t *testing.T) {
	u := newNATUpgrade(t, 256, dataplane.DefaultNATSettings())
	u.begin(0, 20)
	u.options.Connections = 1024
	next := u.open()
	if err := next.plane.stage(); err != nil {
		t.Fatal(err)
	}
	u.old.refuse(knock(clientOf(1<<17)), "DROP_NAT_FULL")
	u.goOn(u.old, 0, 20)
	u.goOn(next, 0, 20) // as some interfaces have the one program, some the other
	fin := u.client(0)
	fin.flags, fin.ack = "FA", 5001
	u.old.request(fin)
	u.switchTo(next)
	if c := next.connections()[fin.from]; c.State != "fin-client" {
		t.Errorf("the old program saw a FIN at last, and now it is %+v", c)
	}
	u.goOn(next, 1, 20)
	next.open(clientOf(1 << 17))
}

func TestPrivilegedAProgramThatIsLeftAloneInTheSwitchBeginsConnectionsAgain(t *testing.T) {
	u := newNATUpgrade(t, 64, dataplane.DefaultNATSettings())
	u.options.Connections = 128
	if err := u.open().plane.stage(); err != nil {
		t.Fatal(err)
	}
	u.old.refuse(knock(clientOf(1)), "DROP_NAT_FULL")
	u.old.wait(freezeConnectionsSeconds + 2)
	u.old.open(clientOf(1))
}

// Random lives, before the copy and after it, end up in the new table as they are in
// the old one.
func TestPrivilegedWhateverBecameOfConnectionsIsTakenOver(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	u := newNATUpgrade(t, 256, fewPorts(64))
	all := []dataplane.Backend{natBackend(backend4), natBackend(backend6), natBackend(backend4.Next())}
	live := func(packets int) {
		for range packets {
			p := u.client(random.IntN(120))
			switch random.IntN(8) {
			case 0: // old ones are retired
				u.old.serve(all[:1+random.IntN(len(all))]...)
			case 1, 2, 3:
				if got, known := u.last[p.from]; known {
					flags := []string{"SA", "A", "FA", "R"}[random.IntN(4)]
					if got.protocol == dataplane.UDP {
						flags = ""
					}
					u.old.send(answer(got, flags, "").frame(t))
				}
			default:
				if p.protocol == dataplane.TCP {
					p.flags, p.ack = []string{"S", "S", "A", "A", "FA", "R"}[random.IntN(6)], 5001
				}
				if got := u.old.send(p.frame(t)); got.verdict == xdpTX {
					u.last[p.from] = hear(t, got.frame)
				}
			}
		}
	}
	live(1500)
	u.options.Connections = 2048
	next := u.open()
	live(1500)
	if err := next.plane.stage(); err != nil {
		t.Fatal(err)
	}
	live(500)
	states := make(map[string]int)
	for _, c := range u.old.connections() {
		states[c.State]++
	}
	u.switchTo(next)
	u.same(next)
	if t.Log(states); len(states) < 6 {
		t.Errorf("the lives prove little: %v", states)
	}
}

func TestPrivilegedByAnotherSecretMostConnectionsGoOn(t *testing.T) {
	u := newNATUpgrade(t, 4096, dataplane.DefaultNATSettings())
	u.begin(0, 200)
	u.options.Secret++
	next := u.open()
	u.switchTo(next)
	known := next.connections()
	if len(known) < 180 {
		t.Errorf("of 200 connections %d go on", len(known))
	}
	for i := range 200 {
		if _, there := known[u.client(i).from]; there {
			u.goOn(next, i, i+1)
		}
	}
}

// An upgrade that dies with one of two links switched, and one that dies when it has
// carried some over; every other place is the other upgrade's that dies.
func TestPrivilegedConnectionsOutliveAnUpgradeThatDies(t *testing.T) {
	for _, after := range []int{3, 5} {
		u := newNATUpgrade(t, 64, dataplane.DefaultNATSettings())
		u.begin(0, 30)
		u.options.Connections = 512
		dying := u.open()
		u.begin(30, 40)
		if dieAfter(t, dying.plane, after) {
			t.Fatal("it did not die")
		}
		if got := attachedProgram(t, "egress0"); got != uint32(idOf(dying.plane.objects.PointsmanLb)) {
			t.Errorf("after %d steps the program is %d, not yet the new one", after, got)
		}
		if err := dying.plane.Close(); err != nil {
			t.Fatal(err)
		}
		next := u.open()
		u.switchTo(next)
		u.goOn(next, 0, 40)
		if known := len(next.connections()); known != 40 {
			t.Errorf("after %d steps and another start there are %d connections, want 40", after, known)
		}
		for _, s := range []*natStage{u.old, next} {
			if err := s.plane.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Detach(u.options.PinDir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrivilegedConnectionsThatWereNotedOtherwiseGoOn(t *testing.T) {
	u := newNATUpgrade(t, 64, dataplane.DefaultNATSettings())
	u.begin(0, 40)
	u.noteOtherwise()
	next := u.open()
	u.switchTo(next)
	u.same(next)
	u.goOn(next, 0, 40)
}

// noteOtherwise replaces the pinned connections by those of a build whose entries have
// another field ahead of all.
func (u *natUpgrade) noteOtherwise() {
	u.t.Helper()
	spec, err := loadLb()
	if err != nil {
		u.t.Fatal(err)
	}
	size(spec, u.options)
	of := spec.Maps[lbMapConnections]
	entry := *of.Value.(*btf.Struct)
	entry.Members = []btf.Member{{Name: "before_it", Type: &btf.Int{Name: "word", Size: 8}}}
	for _, m := range of.Value.(*btf.Struct).Members {
		m.Offset += 64
		entry.Members = append(entry.Members, m)
	}
	entry.Size += 8
	of.Value, of.ValueSize = &entry, entry.Size
	other, err := ebpf.NewMap(of)
	if err != nil {
		u.t.Fatal(err)
	}
	defer other.Close()
	for i, entry := range u.old.plane.mapped.connections.entries {
		if err := other.Put(uint32(i), append(make([]byte, 8), bytesOfConnection(&entry)...)); err != nil {
			u.t.Fatal(err)
		}
	}
	notes := pinned(u.t, u.options.PinDir, lbMapTypeNotes)
	pin := filepath.Join(u.options.PinDir, "maps", lbMapConnections)
	if err := errors.Join(noteTypes(notes, spec), os.Remove(pin), other.Pin(pin)); err != nil {
		u.t.Fatal(err)
	}
}

// hundredThousand opens connections by frames that are made once, and returns the port
// that each has towards its backend.
func (s *natStage) hundredThousand(count int) []uint16 {
	s.t.Helper()
	const source, destination = 14 + 12, 14 + 16 // of the IPv4 header
	const fromPort, toPort = 14 + 20, 14 + 22
	syn, segment := knock(clientOf(0)), knock(clientOf(0))
	segment.flags, segment.seq, segment.ack = "A", 1001, 5001
	first, later := syn.frame(s.t), segment.frame(s.t)
	reply := answer(s.open(clientOf(count)), "SA", "").frame(s.t)
	ports := make([]uint16, count)
	for i := range ports {
		client := clientOf(i).Addr().As4()
		copy(first[source:], client[:])
		copy(later[source:], client[:])
		got := s.run(first)
		ports[i] = binary.BigEndian.Uint16(got[fromPort:])
		copy(reply[source:], got[destination:][:4])
		binary.BigEndian.PutUint16(reply[toPort:], ports[i])
		s.run(reply)
		s.run(later)
	}
	return ports
}

func TestPrivilegedAHundredThousandConnectionsAreAllTakenOver(t *testing.T) {
	const count = 100_000
	var backends []dataplane.Backend
	for addr := backend4; len(backends) < 6; addr = addr.Next() {
		backends = append(backends, natBackend(addr))
	}
	u := newNATUpgrade(t, 1<<18, dataplane.DefaultNATSettings())
	u.old.serve(backends...)
	ports := u.old.hundredThousand(count)
	u.options.Connections = 1 << 19
	next := u.open()
	began := time.Now()
	u.switchTo(next)
	t.Logf("the switch took %v", time.Since(began))
	open := 0
	for c := range next.plane.Connections(monotonicSecond()) {
		if c.State == "established" {
			open++
		}
	}
	if open != count+1 {
		t.Errorf("%d connections are established, want %d", open, count+1)
	}
	segment := knock(clientOf(0))
	segment.flags = "A"
	frame := segment.frame(t)
	for i, port := range ports {
		client := clientOf(i).Addr().As4()
		copy(frame[14+12:], client[:])
		if got := binary.BigEndian.Uint16(next.run(frame)[14+20:]); got != port {
			t.Fatalf("connection %d had port %d, and has %d", i, port, got)
		}
	}
	for name, n := range next.counters() {
		if strings.HasPrefix(name, "DROP") && n > 0 {
			t.Errorf("%d packets met %s", n, name)
		}
	}
}
