package dataplane_test

import (
	"fmt"
	"net/netip"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

func TestEveryPrefixOfEveryDiffLeavesPacketsSane(t *testing.T) {
	draw := fromSeed(t)
	for range 40 {
		walk(t, draw, 8)
	}
}

func FuzzDiff(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 400 {
			return // longer walks find nothing that short ones do not
		}
		walk(t, fromBytes(data), 3)
	})
}

// walk wishes for one state after the other. Sometimes the steps are cut short,
// or someone else writes to the tables, before the next wish comes. Meanwhile
// packets come and time goes on.
func walk(t *testing.T, draw chance, wishes int) {
	t.Helper()
	w := newWorld(draw)
	quarrels := draw(3) == 0
	before := State{}
	for range wishes {
		want := drawState(draw, quarrels)
		want.Second, before.Second = w.second, w.second
		checkPrefixes(t, w.have, want, before)
		before = want
		steps, _ := Diff(w.have, want)
		if draw(2) == 0 {
			steps = steps[:draw(len(steps)+1)]
		}
		w.have = replay(w.have, steps)
		if draw(6) == 0 {
			checkDrift(t, w.have, draw)
		}
		w.live(t)
	}
	w.checkSettles(t)
	checkCompletes(t, w.have, before)
}

// checkDrift takes one entry out of the tables and wants it back.
func checkDrift(t *testing.T, have *Tables, draw chance) {
	t.Helper()
	want := drawState(draw, false)
	steps, problems := Diff(have, want)
	if len(problems) > 0 {
		return
	}
	drifted := replay(have, steps)
	intact := drifted.Clone()
	switch draw(9) {
	case 6:
		clear(drifted.Prefixes)
	case 7:
		drifted.SeesWide = false
	case 8:
		clear(drifted.QUICIDs)
	case 0:
		delete(drifted.Backends, lowest(drifted.Backends))
	case 1:
		for _, s := range want.Services {
			if len(s.VIPs) > 0 {
				delete(drifted.VIPs, s.VIPs[0])
			}
		}
	case 2:
		delete(drifted.Egress, lowest(drifted.Egress))
	case 3:
		delete(drifted.Services, lowest(drifted.Services))
	case 4:
		clear(drifted.Addresses)
	case 5:
		drifted.Addresses[netip.MustParseAddr("192.0.2.99")] = true
	}
	steps, problems = Diff(drifted, want)
	if len(problems) > 0 {
		return // the lost record of a service holds its room for one more Diff
	}
	mended := replay(drifted, steps)
	if wrong := renumbered(intact, mended); wrong != "" {
		t.Fatalf("mended by these steps, %s\n%s", wrong, listed(steps))
	}
	if more, _ := Diff(mended, want); len(more) > 0 {
		t.Fatalf("mended, there is still something to do:\n%s", listed(more))
	}
	for _, s := range want.Services {
		if !s.Keep {
			checkService(t, mended, s)
		}
	}
	for _, wrong := range []string{insane(mended), forgetful(intact, mended, mended, want)} {
		if wrong != "" {
			t.Fatalf("mended by these steps, %s\n%s", wrong, listed(steps))
		}
	}
}

func lowest[V any](m map[uint32]V) uint32 {
	least := ^uint32(0)
	for key := range m {
		least = min(least, key)
	}
	return least
}

// renumbered says which service that has VIPs got another id, though nothing but its
// record was lost.
func renumbered(intact, mended *Tables) string {
	for vip, entry := range intact.VIPs {
		if now, leads := mended.VIPs[vip]; leads && now.Service != entry.Service {
			return fmt.Sprintf("%s leads to service %d and led to %d", vip, now.Service, entry.Service)
		}
	}
	return ""
}
