package fake_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
)

var (
	limits = dataplane.Limits{Services: 1, VIPs: 1, Backends: 3}
	vip    = dataplane.VIP{Addr: netip.MustParseAddr("192.0.2.1"), Port: 80, Protocol: dataplane.TCP}
	entry  = dataplane.BackendEntry{ID: dataplane.ID{Addr: netip.MustParseAddr("10.0.0.1")}, Hop: dataplane.Hop{Interface: 2}}
)

func TestWriteRefusesWhatTheKernelWould(t *testing.T) {
	other := vip
	other.Port = 81
	for _, row := range []struct {
		promise string
		step    dataplane.Step
		text    string
	}{
		{"backend 0 is no backend", dataplane.PutBackend{Entry: entry}, "no backend index 0"},
		{"a backend outside of the map", dataplane.PutBackend{Index: 3, Entry: entry}, "no backend index 3"},
		{"a backend without egress", dataplane.PutBackend{Index: 1}, "no egress"},
		{"one service too many", dataplane.PutService{ID: 5, Entry: dataplane.ServiceEntry{Name: "more"}}, "all 1 services"},
		{"a service without a name", dataplane.PutService{}, "not 1 to 63"},
		{"one VIP too many", dataplane.PutVIP{VIP: other}, "all 1 VIPs"},
		{"a condition outside of the map", dataplane.PutConditions{Name: "web", Changes: []dataplane.SlotCondition{{Slot: 7}}}, "slot 7 of web"},
		{"a slot outside of the map", dataplane.PutSlots{Name: "web", Owners: []dataplane.SlotOwner{{Slot: 7}}}, "slot 7 of web"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			err := filled(t).Write(row.step)
			if err == nil || !strings.Contains(err.Error(), row.text) {
				t.Errorf("got the error %v", err)
			}
		})
	}
}

// filled holds a service, a VIP and a backend.
func filled(t *testing.T) *fake.Tables {
	t.Helper()
	plane := fake.New(limits, 7)
	for _, step := range []dataplane.Step{
		dataplane.PutService{ID: 0, Entry: dataplane.ServiceEntry{Name: "web", SlotCount: 7}},
		dataplane.PutBackend{Index: 1, Entry: entry, New: true},
		dataplane.PutSlots{Name: "web", Owners: []dataplane.SlotOwner{{Slot: 1, Owner: 1}, {Slot: 2, Owner: 1}}},
		dataplane.PutVIP{VIP: vip, Entry: dataplane.VIPEntry{SlotCount: 7}},
	} {
		if err := plane.Write(step); err != nil {
			t.Fatal(err)
		}
	}
	return plane
}

func TestTablesIsACopy(t *testing.T) {
	plane := filled(t)
	first, _ := plane.Tables()
	dataplane.DeleteBackend{Index: 1}.Replay(first)
	second, _ := plane.Tables()
	if len(second.Backends) != 1 {
		t.Error("a change of the copy reached the data plane")
	}
}

func TestSlotsPhasesAndFlowsAreTheMemoryThatTheProgramSees(t *testing.T) {
	plane := filled(t)
	first, _ := plane.Tables()
	first.Conditions.Put(1, dataplane.UDP, dataplane.Condition{Phase: dataplane.Settling, Second: 5})
	first.Flows[3] = uint64(dataplane.MakeFlow(7, 1, false, 9))
	first.Slots[2] = 0
	for _, again := range []*fake.Tables{plane, plane.Reopen()} {
		second, _ := again.Tables()
		if second != nil && (second.Conditions.At(1, dataplane.UDP).Second != 5 || second.Flows[3] != first.Flows[3] || second.Slots[2] != 0) {
			t.Error("they are a copy")
		}
	}
}

func TestADeadBackendNeedsNoEgress(t *testing.T) {
	tomb := dataplane.BackendEntry{ID: entry.ID, Dead: true}
	if err := filled(t).Write(dataplane.PutBackend{Index: 1, Entry: tomb}); err != nil {
		t.Error(err)
	}
}

func TestOwnedCountsSlotsByBackend(t *testing.T) {
	owned := filled(t).Owned(vip)
	if owned[entry.ID] != 2 || owned[dataplane.ID{}] != 5 {
		t.Errorf("got %v", owned)
	}
	if filled(t).Owned(dataplane.VIP{}) != nil {
		t.Error("an unknown VIP owns slots")
	}
}

func TestCountersComeAndGoWithBackends(t *testing.T) {
	plane := filled(t)
	plane.SetCounters(dataplane.Counters{Backends: map[uint32]dataplane.BackendCounters{1: {Packets: 9}}})
	rewritten := plane.Write(dataplane.PutBackend{Index: 1, Entry: entry})
	counters, err := plane.Counters()
	if rewritten != nil || err != nil || counters.Backends[1].Packets != 9 {
		t.Errorf("a rewritten backend has %+v, %v, %v", counters, rewritten, err)
	}
	renewed := plane.Write(dataplane.PutBackend{Index: 1, Entry: entry, New: true})
	if counters, _ = plane.Counters(); renewed != nil || counters.Backends[1].Packets != 0 {
		t.Errorf("a new backend has %+v, %v", counters, renewed)
	}
}

func TestAttachNamesWhatItCannotAttachToAndKeepsTheRest(t *testing.T) {
	plane := fake.New(limits, 7)
	plane.AddInterface("eth0", fake.Interface{Index: 2})
	plane.AddInterface("eth1", fake.Interface{Index: 3, Mode: "generic", Reason: "the driver has no XDP"})
	plane.AddInterface("eth2", fake.Interface{Index: 4, Err: errors.New("busy")})
	attached, err := plane.Attach([]string{"eth0", "eth1", "eth2", "eth3"})
	if len(attached) != 2 || attached[0].Mode != "native" || attached[1].Mode != "generic" {
		t.Errorf("attached %+v", attached)
	}
	if err == nil || !strings.Contains(err.Error(), "eth2: busy") || !strings.Contains(err.Error(), "eth3: there is no such") {
		t.Errorf("got the error %v", err)
	}
	if attached, err = plane.Attach([]string{"eth1"}); err != nil || len(attached) != 1 || len(plane.Attached()) != 1 {
		t.Errorf("then attached %+v, %v", plane.Attached(), err)
	}
}

func TestWhatIsHeldOutlivesClose(t *testing.T) {
	plane := filled(t)
	if err := plane.Close(); err != nil {
		t.Fatal(err)
	}
	if err := plane.Write(dataplane.PutEgress{Interface: 2}); err == nil {
		t.Error("a closed data plane was written to")
	}
	if plane.Reopen().Owned(vip)[entry.ID] != 2 {
		t.Error("what was held is gone")
	}
}

func TestAProgramSeesMigratedTablesOnceItsInterfaceIsAttached(t *testing.T) {
	old := filled(t)
	old.AddInterface("eth0", fake.Interface{Index: 2})
	old.AddInterface("eth1", fake.Interface{Index: 3})
	if _, err := old.Attach([]string{"eth0", "eth1"}); err != nil {
		t.Fatal(err)
	}
	services := func(p *fake.Tables) [2]int {
		return [2]int{len(p.Seen("eth0").Services), len(p.Seen("eth1").Services)}
	}
	migrated := func(attached int, fails fake.Place) *fake.Tables {
		next, err := old.Migrate()
		if err != nil || next.Write(dataplane.DeleteService{ID: 0}) != nil {
			t.Fatal(err)
		}
		next.FailAt(func(at fake.Place) error {
			if attached--; at == fake.Attaching && attached < 0 || at == fails {
				return fake.ErrInjected
			}
			return nil
		})
		if _, err := next.Attach([]string{"eth0", "eth1"}); !errors.Is(err, fake.ErrInjected) {
			t.Errorf("attaching: %v", err)
		}
		return next
	}
	for _, row := range []struct {
		promise   string
		attached  int
		fails     fake.Place
		now, then [2]int // services that are seen
	}{
		{"none before it is attached", 0, fake.Staging, [2]int{1, 1}, [2]int{1, 1}},
		{"one that is attached, and both after the next start", 2, fake.Promoting, [2]int{0, 1}, [2]int{0, 0}},
	} {
		next := migrated(row.attached, row.fails)
		if got := services(next); got != row.now {
			t.Errorf("%s: %v services are seen, want %v", row.promise, got, row.now)
		}
		old = next.Reopen()
		if got := services(old); got != row.then {
			t.Errorf("%s: after another start %v services are seen, want %v", row.promise, got, row.then)
		}
	}
	old.FailAt(func(fake.Place) error { return fake.ErrInjected })
	if _, err := old.Migrate(); !errors.Is(err, fake.ErrInjected) {
		t.Errorf("migrating: %v", err)
	}
}
