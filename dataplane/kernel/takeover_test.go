package kernel

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/kernel/earlier"
)

// upgrade is an earlier build's data plane in the midst of a change: slots of web
// are moving from the first backend to the second.
type upgrade struct {
	t      *testing.T
	dir    string
	old    *earlier.DataPlane
	tables *dataplane.Tables
	egress uint32
	flows  uint32
}

func newUpgrade(t *testing.T) *upgrade {
	u := &upgrade{t: t, egress: inNamespace(t), dir: pinDir(t), flows: 4096}
	old, err := earlier.Open(earlier.Options{PinDir: u.dir, Secret: 42, Limits: testLimits, Slots: 4096, Flows: 4096})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { old.Close() })
	u.old = old
	if u.tables, err = old.Tables(); err != nil {
		t.Fatal(err)
	}
	u.apply(u.wanted(1))
	if _, err := old.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	u.apply(u.wanted(2))
	return u
}

// wanted is a service with the first so many of two backends.
func (u *upgrade) wanted(backends int) dataplane.State {
	other := backend4.Next()
	all := []dataplane.Backend{backendTo(backend4, dataplane.IPIP, u.egress), backendTo(other, dataplane.IPIP, u.egress)}
	return dataplane.State{Services: []dataplane.Service{serviceOn("web", all[:backends]...)}, Second: monotonicSecond()}
}

func (u *upgrade) apply(want dataplane.State) {
	u.t.Helper()
	steps, problems := dataplane.Diff(u.tables, want)
	if len(problems) > 0 {
		u.t.Fatal(problems)
	}
	if err := dataplane.Apply(u.tables, steps, u.old); err != nil {
		u.t.Fatal(err)
	}
}

// tcp is a packet of a client's port: the first of its flow, or a later one.
func tcp(port uint16, later bool) flow {
	return flow{protocol: dataplane.TCP, client: port, ack: later}
}

// sendOld lets the old program forward a packet, and returns the backend's index.
func (u *upgrade) sendOld(f flow) uint32 {
	u.t.Helper()
	before, err := u.old.Counters()
	if err != nil {
		u.t.Fatal(err)
	}
	if _, _, err := u.old.Run(f.frame()); err != nil {
		u.t.Fatal(err)
	}
	after, err := u.old.Counters()
	if err != nil {
		u.t.Fatal(err)
	}
	for index, n := range after.Backends {
		if n.Packets > before.Backends[index].Packets {
			return index
		}
	}
	return dataplane.NoBackend
}

func (u *upgrade) open() *DataPlane {
	u.t.Helper()
	plane, err := Open(Options{PinDir: u.dir, Secret: 42, Limits: testLimits, Slots: 4096, Flows: u.flows})
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { plane.Close() })
	return plane
}

// sendNew is sendOld for the new program.
func (u *upgrade) sendNew(plane *DataPlane, f flow) uint32 {
	u.t.Helper()
	before, err := plane.Counters()
	if err != nil {
		u.t.Fatal(err)
	}
	if _, _, err := plane.objects.PointsmanLb.Test(f.frame()); err != nil {
		u.t.Fatal(err)
	}
	after, err := plane.Counters()
	if err != nil {
		u.t.Fatal(err)
	}
	for index, n := range after.Backends {
		if n.Packets > before.Backends[index].Packets {
			return index
		}
	}
	return dataplane.NoBackend
}

// begin opens flows, of which about half go to the new backend and are remembered:
// established, for what has only begun is forgotten within seconds.
func (u *upgrade) begin(from, to uint16) map[uint16]uint32 {
	u.t.Helper()
	at := make(map[uint16]uint32)
	seen := make(map[uint32]int)
	for port := from; port < to; port++ {
		at[port] = u.sendOld(tcp(port, false))
		if then := u.sendOld(tcp(port, true)); then != at[port] {
			u.t.Fatalf("the flow from port %d began at backend %d and went on to %d", port, at[port], then)
		}
		seen[at[port]]++
	}
	if len(seen) != 2 {
		u.t.Fatalf("the flows went to %v, want two backends", seen)
	}
	return at
}

func (u *upgrade) keep(plane *DataPlane, flows map[uint16]uint32) {
	u.t.Helper()
	for port, index := range flows {
		if got := u.sendNew(plane, tcp(port, true)); got != index {
			u.t.Errorf("the flow from port %d was at backend %d and is at %d", port, index, got)
		}
	}
}

func TestPrivilegedAnEarlierBuildsStateIsTakenOverInTheMidstOfAChange(t *testing.T) {
	for _, row := range []struct {
		promise string
		flows   uint32
	}{
		{"with the flow table that there is", 4096},
		{"with a larger one", 4 * 4096},
	} {
		t.Run(row.promise, func(t *testing.T) {
			u := newUpgrade(t)
			u.flows = row.flows
			flows := u.begin(1000, 1100)
			plane := u.open()
			got, err := plane.Tables()
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got.Services, u.tables.Services) || !maps.Equal(got.VIPs, u.tables.VIPs) || !maps.Equal(got.Egress, u.tables.Egress) ||
				!maps.Equal(got.Backends, u.tables.Backends) || !slices.Equal(got.Slots, u.tables.Slots) || !slices.Equal(got.Conditions, u.tables.Conditions) {
				t.Errorf("the new maps hold\n%+v, the old ones\n%+v", got, u.tables)
			}
			if found, err := plane.Mend(got); err != nil || len(found) > 0 {
				t.Errorf("what was taken over would be taken for someone else's doing: %v, %v", found, err)
			}
			steps, _ := dataplane.Diff(got, u.wanted(2))
			steps = slices.DeleteFunc(steps, func(s dataplane.Step) bool {
				_, is := s.(dataplane.PutAddress)
				return is // the earlier build had no place for them
			})
			if len(steps) > 0 {
				t.Errorf("what is right would be changed: %v", steps)
			}
			maps.Copy(flows, u.begin(1100, 1200)) // by the old program, after the copy
			before, err := u.old.Counters()
			if err != nil {
				t.Fatal(err)
			}
			if now, err := plane.Counters(); err != nil || !equalCounters(now, before) {
				t.Errorf("before the switch it counts\n%+v, %v, the old program\n%+v", now, err, before)
			}
			if _, err := plane.Attach([]string{"egress0"}); err != nil {
				t.Fatal(err)
			}
			if now, err := plane.Counters(); err != nil || !equalCounters(now, before) {
				t.Errorf("after the switch it counts\n%+v, %v, the old program did\n%+v", now, err, before)
			}
			u.keep(plane, flows)
		})
	}
}

// equalCounters leaves out names that the old program has not.
func equalCounters(now, before dataplane.Counters) bool {
	for name, n := range before.Outcomes {
		if now.Outcomes[name] != n {
			return false
		}
	}
	return now.Flows == before.Flows && maps.Equal(now.Backends, before.Backends)
}

func TestPrivilegedAFrozenFlowTableBreaksNoFlowThatBeginsDuringTheSwitch(t *testing.T) {
	u := newUpgrade(t)
	u.flows = 4 * 4096
	flows := u.begin(1000, 1050)
	plane := u.open()
	if err := plane.stage(); err != nil {
		t.Fatal(err)
	}
	for port := uint16(1050); port < 1150; port++ { // they cannot be remembered any more
		flows[port] = u.sendOld(tcp(port, false))
	}
	if _, err := plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	u.keep(plane, flows)
}

func TestPrivilegedAnotherSecretForgetsFlowsAndNothingElse(t *testing.T) {
	u := newUpgrade(t)
	first := u.open()
	if _, err := first.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	u.begin(1000, 1100)
	second, err := Open(Options{PinDir: u.dir, Secret: 43, Limits: testLimits, Slots: 4096, Flows: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if lost := second.takeover.losses(); lost != "remembered flows (the hash secret is another one)" {
		t.Errorf("lost: %s", lost)
	}
	tables, err := second.Tables()
	if err != nil {
		t.Fatal(err)
	}
	if len(tables.VIPs) != 4 || len(tables.Backends) != 2 {
		t.Errorf("it holds %+v", tables)
	}
	for _, word := range tables.Flows {
		if word != 0 {
			t.Fatalf("the flow %x is remembered, hashed by another secret", word)
		}
	}
}

var errDied = errors.New("the process has died")

// TestPrivilegedAnUpgradeThatDiesAnywhereIsFinishedByTheNextStart dies after every
// step of Attach in turn.
func TestPrivilegedAnUpgradeThatDiesAnywhereIsFinishedByTheNextStart(t *testing.T) {
	for after := 0; ; after++ {
		u := newUpgrade(t)
		u.flows = 4 * 4096
		flows := u.begin(1000, 1040)
		before, err := u.old.Counters()
		if err != nil {
			t.Fatal(err)
		}
		dying := u.open()
		finished := dieAfter(t, dying, after)
		if err := dying.Close(); err != nil {
			t.Fatal(err)
		}
		next := u.open()
		if _, err := next.Attach([]string{"egress0", "egress1"}); err != nil {
			t.Fatal(err)
		}
		now, err := next.Counters()
		if err != nil || !equalCounters(now, before) {
			t.Errorf("after %d steps and another start it counts\n%+v, %v, the old program did\n%+v", after, now, err, before)
		}
		u.keep(next, flows)
		if found := next.Inspect(); len(found) > 0 {
			t.Errorf("after %d steps and another start: %v", after, found)
		}
		if left, err := filepath.Glob(filepath.Join(u.dir, "*_next")); err != nil || len(left) > 0 {
			t.Errorf("after %d steps %v is left, %v", after, left, err)
		}
		if err := next.Close(); err != nil {
			t.Fatal(err)
		}
		u.old.Close()
		if _, err := Detach(u.dir); err != nil {
			t.Fatal(err)
		}
		if finished {
			t.Logf("an upgrade has %d places to die", after)
			return
		}
	}
}

func TestPrivilegedCountersAreAddedWhilePacketsAreCounted(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	add, err := newAdder(h.plane.objects.Outcomes)
	if err != nil {
		t.Fatal(err)
	}
	defer add.program.Close()
	const rounds, adds = 20000, 2000
	done := make(chan error)
	go func() { // ARP
		frame := append(make([]byte, 12), 0x08, 0x06)
		_, err := h.plane.objects.PointsmanLb.Run(&ebpf.RunOptions{Data: append(frame, make([]byte, 46)...), Repeat: rounds})
		done <- err
	}()
	for range adds {
		if err := add.add(uint32(lbOutcomePASS_NOT_IP), []uint64{7}); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := h.counters()["PASS_NOT_IP"]; got != rounds+7*adds {
		t.Errorf("%d packets are counted, want %d", got, rounds+7*adds)
	}
}
