package kernel

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/kernel/earlier"
)

const laterLayout = lbLayoutVersionLAYOUT_VERSION + 1

// age makes pinned maps those of a later build.
func age(t *testing.T, folder string) {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(folder, lbMapLayouts), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var layout lbLayout
	if err := m.Lookup(uint32(0), &layout); err != nil {
		t.Fatal(err)
	}
	layout.Version = laterLayout
	if err := m.Put(uint32(0), layout); err != nil {
		t.Fatal(err)
	}
}

// pinnedThings are all pins, by their paths.
func pinnedThings(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPrivilegedMapsOfALaterBuildAreRefusedWithWhatToDoAndGoOnForwarding(t *testing.T) {
	h, dir := everything(t)
	before, pins, counters := attachedProgram(t, "egress0"), pinnedThings(t, dir), h.counters()
	held := entries(t, pinned(t, dir, lbMapVips))
	age(t, filepath.Join(dir, "maps"))
	for range 2 {
		plane, err := Open(Options{PinDir: dir, Secret: 43, Limits: testLimits, Slots: 8192, Flows: 8192})
		if err == nil {
			plane.Close()
			t.Fatal("it was opened")
		}
		for _, words := range []string{"of a later build", "layout is number 4", "up to 3", "Start that build again", "pointsman detach --pin-dir " + dir} {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("it says %q, without %q", err, words)
			}
		}
	}
	if after := attachedProgram(t, "egress0"); after != before || !slices.Equal(pinnedThings(t, dir), pins) {
		t.Errorf("program %d is attached and was %d; there are the pins\n%q, there were\n%q", after, before, pinnedThings(t, dir), pins)
	}
	if !maps.Equal(entries(t, pinned(t, dir, lbMapVips)), held) {
		t.Error("the tables were changed")
	}
	if got := h.send(tcp(1000, false).frame()); got.verdict != xdpRedirect || maps.Equal(h.counters(), counters) {
		t.Errorf("a packet meets %+v", got)
	}
	if _, err := Detach(dir); err != nil {
		t.Fatal(err)
	}
	openTest(t, dir, 4096) // as it was told
}

// TestPrivilegedALaterBuildThatDiedWhileItTookOverIsRefusedOnceItForwards dies at
// several steps of taking over, and is taken for a later build then.
func TestPrivilegedALaterBuildThatDiedWhileItTookOverIsRefusedOnceItForwards(t *testing.T) {
	refused, thrownAway := 0, 0
	for _, after := range []int{1, 2, 3, 4, 8} {
		u := newUpgrade(t)
		dying := u.open()
		dieAfter(t, dying, after)
		later := attachedProgram(t, "egress0") == uint32(idOf(dying.objects.PointsmanLb))
		if err := dying.Close(); err != nil {
			t.Fatal(err)
		}
		for _, folder := range []string{"maps", "maps_next"} {
			if _, err := os.Stat(filepath.Join(u.dir, folder, lbMapLayouts)); err == nil {
				age(t, filepath.Join(u.dir, folder))
			}
		}
		before := attachedProgram(t, "egress0")
		plane, err := Open(Options{PinDir: u.dir, Secret: 42, Limits: testLimits, Slots: 4096, Flows: 4096})
		switch {
		case later && err == nil:
			t.Fatalf("after %d steps, what forwards already was taken over", after)
		case !later && err != nil:
			t.Fatalf("after %d steps, what never forwarded is in the way: %v", after, err)
		case later:
			refused++
			if !strings.Contains(err.Error(), "of a later build") || attachedProgram(t, "egress0") != before {
				t.Errorf("after %d steps: %v; program %d is attached, was %d", after, err, attachedProgram(t, "egress0"), before)
			}
		default:
			thrownAway++
			if err := plane.Close(); err != nil {
				t.Fatal(err)
			}
		}
		u.old.Close()
		if _, err := Detach(u.dir); err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 || thrownAway == 0 {
		t.Errorf("it was refused %d times and thrown away %d times: it died on one side of the switch only", refused, thrownAway)
	}
}

// dieAfter lets a plane attach until it dies after so many steps; it tells whether
// there were no more.
func dieAfter(t *testing.T, plane *DataPlane, after int) (finished bool) {
	t.Helper()
	steps := 0
	plane.pins.between = func() error {
		if steps == after {
			return errDied
		}
		steps++
		return nil
	}
	_, err := plane.Attach([]string{"egress0", "egress1"})
	if err != nil && !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	return err == nil
}

// TestPrivilegedABuildFromBeforeLayoutsHadAVersionForwardsToTheSameBackends goes back
// to one that cannot know that there is something later, and forward again.
func TestPrivilegedABuildFromBeforeLayoutsHadAVersionForwardsToTheSameBackends(t *testing.T) {
	egress := inNamespace(t)
	dir := pinDir(t)
	services := []dataplane.Service{serviceOn("web", backendTo(backend4, dataplane.IPIP, egress), backendTo(backend4.Next(), dataplane.IPIP, egress))}
	u := &upgrade{t: t, egress: egress, dir: dir, flows: 4096}
	was := make(map[uint16]dataplane.ID)
	first := harnessOn(t, openTest(t, dir, 4096))
	first.want(services...)
	if _, err := first.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	for port := uint16(1000); port < 1100; port++ {
		was[port] = first.tables.Backends[u.sendNew(first.plane, tcp(port, false))].ID
	}

	var err error
	u.old, err = earlier.Open(earlier.Options{PinDir: dir, Secret: 42, Limits: testLimits, Slots: 4096, Flows: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer u.old.Close()
	if u.tables, err = u.old.Tables(); err != nil {
		t.Fatal(err)
	}
	u.apply(dataplane.State{Services: services})
	if _, err := u.old.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	for port, id := range was {
		if got := u.tables.Backends[u.sendOld(tcp(port, true))].ID; got != id {
			t.Errorf("by the earlier build, the flow from port %d goes to %s, and went to %s", port, got, id)
		}
	}

	again := harnessOn(t, u.open())
	if _, err := again.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	for port, id := range was {
		if got := again.tables.Backends[u.sendNew(again.plane, tcp(port, true))].ID; got != id {
			t.Errorf("afterwards, the flow from port %d goes to %s, and went to %s", port, got, id)
		}
	}
	if found := again.plane.Inspect(); len(found) > 0 {
		t.Errorf("afterwards: %v", found)
	}
}
