package kernel

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// mended are the maps that Mend makes again what they were left as.
var mended = []string{
	lbMapVips, lbMapVipPlaces, lbMapVipEntries, lbMapVipAddresses, lbMapSwitches, lbMapWidePrefixes, lbMapWideVips, lbMapQuicIds,
	lbMapBackends, lbMapEgress, lbMapServices, lbMapNat, lbMapTypeNotes, lbMapLayouts,
}

// mendedElsewhere are those whose memory the tables share.
var mendedElsewhere = []string{lbMapSlots, lbMapConditions}

// notMended are those of which nobody can tell what they should be, and why.
var notMended = map[string]string{
	lbMapFlows:             "the program's memory of flows: it alone knows where they went",
	lbMapConnections:       "the program's memory of connections, as flows are",
	lbMapConnectionReplies: "the same",
	lbMapConnectionTags:    "the same",
	lbMapFragments:         "the program's memory of the last ten seconds",
	lbMapOutcomes:          "counted by the program",
	lbMapInterfaceOutcomes: "counted by the program",
	lbMapFlowEvents:        "counted by the program",
	lbMapBackendCounters:   "counted by the program",
	lbMapServiceDrops:      "counted by the program",
	lbMapErrorBudget:       "counted by the program, and over in a second",
}

func TestEveryMapIsMendedOrSaysWhyNot(t *testing.T) {
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	known := slices.Concat(mended, mendedElsewhere, slices.Collect(maps.Keys(notMended)))
	for name := range spec.Maps {
		if n := slices.Index(known, name); n < 0 && isTable(name) {
			t.Errorf("nothing says what becomes of %s when somebody else writes to it: let Mend mend it and add it to mended, or add the reason to notMended", name)
		} else if n >= 0 {
			known = slices.Delete(known, n, n+1)
		}
	}
	if len(known) > 0 {
		t.Errorf("there are no maps %v", known)
	}
}

// everything fills all maps that are mended, in the midst of a change.
func everything(t *testing.T) (*harness, string) {
	egress := inNamespace(t)
	dir := pinDir(t)
	h := harnessOn(t, openTest(t, dir, 4096))
	h.tables.Phases = dataplane.NotePhases(h.tables)
	quic, web := serviceOn("quic", backendTo(backend6, dataplane.GUE, egress)), serviceOn("web", backendTo(backend4, dataplane.IPIP, egress))
	quic.QUIC, quic.Backends[0].QUICID = dataplane.QUIC{Offset: 1, Length: 2}, "ab"
	for i := range quic.VIPs {
		quic.VIPs[i].Port = 443
	}
	quic.VIPs = append(quic.VIPs, dataplane.VIP{Addr: netip.MustParseAddr("192.0.2.64"), Port: 8000, Protocol: dataplane.TCP, Wide: dataplane.Wide{HostBits: 4, LastPort: 8007}})
	h.want(quic, web)
	web.Backends = append(web.Backends, backendTo(backend4.Next(), dataplane.L2, egress))
	h.want(quic, web) // slots of web are in motion from now on
	nat := dataplane.DefaultNATSettings()
	nat.Sources = []netip.Addr{source4, source6}
	h.apply(dataplane.PutNAT{Settings: nat})
	if _, err := h.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	return h, dir
}

// entries are a map's, as somebody with bpftool sees them; those of arrays that are
// zero are none.
func entries(t *testing.T, m *ebpf.Map) map[string]string {
	t.Helper()
	all := make(map[string]string)
	var key, value []byte
	for each := m.Iterate(); each.Next(&key, &value); {
		if m.Type() != ebpf.Array || !isZero(value) {
			all[string(key)] = string(value)
		}
	}
	return all
}

// pinned opens a map as somebody else would.
func pinned(t *testing.T, dir, name string) *ebpf.Map {
	t.Helper()
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "maps", name), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// flipped is what differs from bytes in one of them.
func flipped(text string, at int) []byte {
	other := []byte(text)
	other[at] ^= 0x41
	return other
}

// trespass is what somebody else may do to a map, and what is said of it.
type trespass struct {
	what string
	do   func(*ebpf.Map) error
	said string
}

// trespasses are a deletion of each entry, a change of each byte of a value, and an
// entry with each byte of a key changed.
func trespasses(m *ebpf.Map, held map[string]string) (all []trespass) {
	last := slices.Max(slices.Collect(maps.Keys(held)))
	for key := range held {
		remove := func(m *ebpf.Map) error { return m.Delete([]byte(key)) }
		if m.Type() == ebpf.Array {
			remove = func(m *ebpf.Map) error { return m.Put([]byte(key), make([]byte, m.ValueSize())) }
		}
		all = append(all, trespass{fmt.Sprintf("the entry %x is deleted", key), remove, ""})
	}
	for at := 0; at < len(held[last]); at += 1 + at/100 {
		all = append(all, trespass{fmt.Sprintf("byte %d of a value is changed", at),
			func(m *ebpf.Map) error { return m.Put([]byte(last), flipped(held[last], at)) }, "changed"})
	}
	if m.Type() == ebpf.Array {
		if free := lastKey(m); m.MaxEntries() > 1 {
			all = append(all, trespass{"a free entry is written", func(m *ebpf.Map) error { return m.Put(free, []byte(held[last])) }, "added"})
		}
		return all
	}
	for at := range last {
		all = append(all, trespass{fmt.Sprintf("an entry is added whose key differs in byte %d", at),
			func(m *ebpf.Map) error { return m.Put(flipped(last, at), []byte(held[last])) }, "added"})
	}
	return all
}

// lastKey is that of an array.
func lastKey(m *ebpf.Map) []byte { return binary.NativeEndian.AppendUint32(nil, m.MaxEntries()-1) }

// TestPrivilegedWhatSomeoneDoesToAnyMapIsUndoneAndTold writes through the pins.
func TestPrivilegedWhatSomeoneDoesToAnyMapIsUndoneAndTold(t *testing.T) {
	h, dir := everything(t)
	if found, err := h.plane.Mend(h.tables); err != nil || len(found) > 0 {
		t.Fatalf("before anything was done, it found %v, %v", found, err)
	}
	for _, name := range mended {
		t.Run(name, func(t *testing.T) {
			m := pinned(t, dir, name)
			held := entries(t, m)
			if len(held) == 0 {
				t.Fatal("it is empty")
			}
			for _, trespass := range trespasses(m, held) {
				if err := trespass.do(m); err != nil {
					if name == lbMapWidePrefixes || name == lbMapWideVips || name == lbMapEgress {
						continue // a trie takes no key of too many bits, and a devmap no interface that is not there
					}
					t.Fatalf("%s: %v", trespass.what, err)
				}
				found, err := h.plane.Mend(h.tables)
				if err != nil || !slices.ContainsFunc(found, func(text string) bool { return strings.Contains(text, trespass.said) }) {
					t.Errorf("%s: it found %q, %v", trespass.what, found, err)
				}
				if now := entries(t, m); !maps.Equal(now, held) {
					t.Errorf("%s: it is not mended: %x, was %x", trespass.what, now, held)
				}
				if found, err := h.plane.Mend(h.tables); err != nil || len(found) > 0 {
					t.Errorf("%s: mended once, it found %q, %v", trespass.what, found, err)
				}
			}
			t.Logf("%d trespasses", len(trespasses(m, held)))
		})
	}
}

// TestPrivilegedSlotsAndPhasesThatSomeoneOverwroteAreMended does the same to the
// memory that the tables share with the kernel, as the control plane would mend it.
func TestPrivilegedSlotsAndPhasesThatSomeoneOverwroteAreMended(t *testing.T) {
	h, dir := everything(t)
	for _, name := range mendedElsewhere {
		m := pinned(t, dir, name)
		held := entries(t, m)
		keys := slices.Sorted(maps.Keys(held))
		first, last := keys[0], keys[len(keys)-1]
		if held[first] == held[last] {
			t.Fatalf("the lines of %s are all the same", name)
		}
		for what, put := range map[string]func() error{
			"a line is zeroed":                func() error { return m.Put([]byte(last), make([]byte, m.ValueSize())) },
			"a line is written over another":  func() error { return m.Put([]byte(first), []byte(held[last])) },
			"a line of no service is written": func() error { return m.Put(lastKey(m), []byte(held[first])) },
		} {
			owners, phases := slices.Clone(h.tables.Slots), h.phases()
			if err := put(); err != nil {
				t.Fatal(err)
			}
			if !h.mendSlots() {
				t.Errorf("%s: %s, and nothing is found", name, what)
			}
			if !slices.Equal(h.tables.Slots, owners) {
				t.Errorf("%s: %s, and slots have other owners", name, what)
			}
			if name == lbMapConditions && !slices.Equal(h.phases(), phases) {
				t.Errorf("%s: %s, and slots have other phases", name, what)
			}
			if h.mendSlots() {
				t.Errorf("%s: %s, and mended once, something is found", name, what)
			}
		}
	}
}

// phases are those of all slots, and their fallbacks.
func (h *harness) phases() (all []dataplane.Condition) {
	for slot := range uint32(len(h.tables.Slots)) {
		for _, protocol := range []dataplane.Protocol{dataplane.TCP, dataplane.UDP} {
			c := h.tables.Conditions.At(slot, protocol)
			c.Second = 0
			all = append(all, c)
		}
	}
	return all
}

// mendSlots mends phases and owners, and tells whether there was anything to mend.
func (h *harness) mendSlots() bool {
	h.t.Helper()
	steps := dataplane.Overwritten(h.tables, 0, uint32(len(h.tables.Slots)), monotonicSecond())
	h.apply(steps...)
	_, wrong := dataplane.Astray(h.tables, h.wanted.Services, func() bool { return true })
	doubted := h.wanted
	doubted.Doubted = make(map[string]bool)
	for name := range wrong {
		doubted.Doubted[name] = true
	}
	more, problems := dataplane.Diff(h.tables, doubted)
	if len(problems) > 0 {
		h.t.Fatal(problems)
	}
	h.apply(more...)
	return len(steps)+len(wrong) > 0
}
