package dataplane_test

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/maglev"
)

// checkHeld compares what is held with the wish: in full for services that can
// be as wanted, as before for those that are kept or have a problem.
func checkHeld(t *testing.T, old, held *Tables, want State, problems []Problem) {
	t.Helper()
	trouble := make(map[string]bool)
	for _, p := range problems {
		trouble[p.Service] = true
	}
	kept := false
	backends, quicIDs, vips, egress := 0, 0, make(map[VIP]bool), make(map[uint32]bool)
	for _, s := range want.Services {
		if trouble[s.Name] || s.Keep {
			checkKept(t, old, held, s.Name)
			kept = true
			continue
		}
		checkService(t, held, s)
		backends += len(s.Backends)
		for _, vip := range Blocks(s.VIPs) {
			vips[vip] = true
		}
		for _, b := range s.Backends {
			quicIDs += min(len(b.QUICID), 1)
		}
		for _, b := range s.Backends {
			egress[b.Hop.Interface] = true
		}
		if s.NAT && len(s.VIPs) > 0 {
			egress[clientsAt] = true
			if !held.NAT.Equal(want.NAT) {
				t.Fatalf("connections are made by %+v, and %+v is wanted", held.NAT, want.NAT)
			}
		}
	}
	if kept {
		return
	}
	if len(held.Services) != len(want.Services) || living(held) != backends || len(held.VIPs) != len(vips) || len(held.Egress) != len(egress) {
		t.Fatalf("%d services, %d backends, %d VIPs and %d interfaces are held, %d, %d, %d and %d are wanted",
			len(held.Services), living(held), len(held.VIPs), len(held.Egress), len(want.Services), backends, len(vips), len(egress))
	}
	addresses := make(map[netip.Addr]bool)
	for vip := range vips {
		if !vip.IsWide() {
			addresses[vip.Addr] = true
		}
	}
	if !maps.Equal(held.Addresses, addresses) {
		t.Fatalf("the addresses %v are held, and VIPs have %v", held.Addresses, addresses)
	}
	if wrong := narrow(held, vips); wrong != "" || len(held.QUICIDs) != quicIDs {
		t.Fatalf("%s; %d QUIC IDs are held, and %d wanted", wrong, len(held.QUICIDs), quicIDs)
	}
	unowned := slices.Clone(held.Slots)
	for _, entry := range held.Services {
		clear(unowned[entry.FirstSlot:][:entry.SlotCount])
	}
	for slot, owner := range unowned {
		if owner != NoBackend {
			t.Fatalf("slot %d is of no service and names backend %d", slot, owner)
		}
	}
}

func checkService(t *testing.T, held *Tables, s Service) {
	t.Helper()
	id := idOf(t, held, s.Name)
	entry := held.Services[id]
	if entry.SlotCount != s.Slots || entry.Fingerprint == 0 {
		t.Fatalf("%s is held as %+v", s.Name, entry)
	}
	for _, vip := range Blocks(s.VIPs) {
		want := VIPEntry{
			Service: id, FirstSlot: entry.FirstSlot, SlotCount: entry.SlotCount,
			IdleSeconds: idleSeconds(s, vip.Protocol), Unsettled: held.VIPs[vip].Unsettled,
			TrackAlways: s.Tracking == TrackAlways && !s.NAT, AffinityClient: s.AffinityClient, NAT: s.NAT,
		}
		if vip.Protocol == UDP {
			want.QUIC = s.QUIC
		}
		if held.VIPs[vip] != want {
			t.Fatalf("%s leads to %+v instead of %+v", vip, held.VIPs[vip], want)
		}
	}
	found := make(map[ID]BackendEntry)
	for _, backend := range held.Backends {
		if backend.Service == id && !backend.Dead {
			found[backend.ID] = backend
		}
	}
	var members []maglev.Member
	for _, b := range s.Backends {
		if want := (BackendEntry{Service: id, ID: b.ID, Forward: b.Forward, Hop: b.Hop}); found[b.ID] != want {
			t.Fatalf("backend %s of %s is held as %+v instead of %+v", b.ID, s.Name, found[b.ID], want)
		}
		if key := s.QUIC.Key(id, []byte(b.QUICID)); b.QUICID != "" && held.Backends[held.QUICIDs[key]].ID != b.ID {
			t.Fatalf("%s leads to backend %d instead of %s", key, held.QUICIDs[key], b.ID)
		}
		members = append(members, maglev.Member{Key: b.ID.String(), Weight: int(b.Weight)})
	}
	if len(found) != len(s.Backends) {
		t.Fatalf("%s has %d backends instead of %d", s.Name, len(found), len(s.Backends))
	}
	owners := maglev.Build(members, int(s.Slots))
	for i, owner := range held.Slots[entry.FirstSlot:][:entry.SlotCount] {
		var want ID
		if owners != nil {
			want = s.Backends[owners[i]].ID
		}
		if got := held.Backends[owner].ID; got != want {
			t.Fatalf("slot %d of %s belongs to %s instead of %s", i, s.Name, got, want)
		}
	}
}

func idOf(t *testing.T, held *Tables, name string) uint32 {
	t.Helper()
	var ids []uint32
	for id, entry := range held.Services {
		if entry.Name == name {
			ids = append(ids, id)
		}
	}
	if len(ids) != 1 {
		t.Fatalf("%s has the ids %v", name, ids)
	}
	return ids[0]
}

// checkKept wants a service with a problem to forward as it did.
func checkKept(t *testing.T, old, held *Tables, name string) {
	t.Helper()
	for id, entry := range old.Services {
		if entry.Name != name {
			continue
		}
		if held.Services[id] != entry {
			t.Fatalf("%s has a problem and was held as %+v, now as %+v", name, entry, held.Services[id])
		}
		for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
			owner := held.Slots[slot]
			if owner != old.Slots[slot] || held.Backends[owner] != old.Backends[owner] {
				t.Fatalf("%s has a problem, and its slot %d went from %d, %+v, to %d, %+v",
					name, slot, old.Slots[slot], old.Backends[old.Slots[slot]], owner, held.Backends[owner])
			}
		}
	}
}

func idleSeconds(s Service, protocol Protocol) uint32 {
	if protocol == UDP {
		return cmp.Or(s.IdleUDP, 60)
	}
	return cmp.Or(s.IdleTCP, 15*60)
}

func living(held *Tables) (count int) {
	for _, entry := range held.Backends {
		if !entry.Dead {
			count++
		}
	}
	return count
}
