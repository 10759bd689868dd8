package kernel

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

// exactModel is the memory that is shared with the program, and the map vips.
type exactModel struct {
	*exactVIPs
	vips map[lbVipKey]lbVip
}

func newExactModel(places, entries int) exactModel {
	m := exactModel{newExactVIPs(42, make([]lbVipLine, places/int(placesPerLine)), make([]lbVipEntry, entries)), make(map[lbVipKey]lbVip)}
	m.follow(m.vips)
	return m
}

func (m exactModel) putVIP(key lbVipKey, value lbVip) {
	m.vips[key] = value
	m.put(key, value)
}

func (m exactModel) deleteVIP(key lbVipKey) {
	delete(m.vips, key)
	m.delete(key)
}

// find is what the program does.
func (m exactModel) find(key lbVipKey) (lbVip, bool) {
	switch index := *placeIn(m.lines, m.placeOf(key)); index {
	case lbVipPlaceVIP_NONE:
		return lbVip{}, false
	case lbVipPlaceVIP_ASK:
		value, found := m.vips[key]
		return value, found
	default:
		entry := m.entries[index]
		return entry.Vip, entry.Key == key
	}
}

func (m exactModel) check(t *testing.T, keys []lbVipKey) {
	t.Helper()
	for _, key := range keys {
		want, is := m.vips[key]
		if got, found := m.find(key); found != is || is && got != want {
			t.Fatalf("%v is found: %v, %+v; want %v, %+v", decodeVIP(key), found, got, is, want)
		}
	}
}

// exactVIPsAtRandom are of both families and protocols, no two the same.
func exactVIPsAtRandom(random *rand.Rand, count int) []dataplane.VIP {
	all := make(map[dataplane.VIP]bool)
	for len(all) < count {
		vip := dataplane.VIP{Addr: addressOf(192<<24 | 2<<8 | random.Uint32N(16)), Port: uint16(1 + random.IntN(2000)), Protocol: dataplane.TCP}
		if random.IntN(2) == 0 {
			bytes := vip6.As16()
			bytes[random.IntN(16)] ^= byte(random.IntN(256))
			vip.Addr = netip.AddrFrom16(bytes)
		}
		if random.IntN(2) == 0 {
			vip.Protocol = dataplane.UDP
		}
		all[vip] = vip.Addr.Is6() || vip.Addr.Is4()
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b dataplane.VIP) int {
		return cmpVIPs(a, b)
	})
}

func cmpVIPs(a, b dataplane.VIP) int {
	if c := a.Addr.Compare(b.Addr); c != 0 {
		return c
	}
	return (int(a.Port)-int(b.Port))*4 + int(a.Protocol) - int(b.Protocol)
}

func keysAtRandom(random *rand.Rand, count int) (keys []lbVipKey) {
	for _, vip := range exactVIPsAtRandom(random, count) {
		keys = append(keys, encodeVIP(vip))
	}
	return keys
}

func TestEachVIPIsFoundAndNoOtherHoweverManyShareAPlace(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	keys := keysAtRandom(random, 60)
	for _, size := range []struct{ places, entries int }{{16, 128}, {64, 128}, {256, 20}, {256, 128}} {
		m := newExactModel(size.places, size.entries)
		for i := range 4000 {
			key := keys[random.IntN(len(keys))]
			if random.IntN(3) == 0 {
				m.deleteVIP(key)
			} else {
				m.putVIP(key, lbVip{Service: uint32(i)})
			}
			m.check(t, keys)
		}
		if !slices.Equal(m.lines, m.leftLines) || !slices.Equal(m.entries, m.leftEntries) {
			t.Error("what is there is not what was left there")
		}
	}
}

// A packet may be led to an entry and read it later.
func TestAnEntryThatAPlaceLedToIsNotWrittenWhileASlowPacketMayReadIt(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	keys := keysAtRandom(random, 60)
	m := newExactModel(256, 60+spareEntries+1)
	for i := range 2000 {
		index, before := *placeIn(m.lines, m.placeOf(keys[0])), slices.Clone(m.entries)
		for range spareEntries {
			if key := keys[random.IntN(len(keys))]; random.IntN(3) == 0 {
				m.deleteVIP(key)
			} else {
				m.putVIP(key, lbVip{Service: uint32(i)})
			}
			if index < lbVipPlace(len(before)) && m.entries[index] != before[index] {
				t.Fatalf("entry %d was written within %d changes", index, spareEntries)
			}
		}
	}
}

// The daemon before may have died between vips and a place.
func TestAStartLeadsToWhatIsInVIPsAndLeavesAloneWhatDoesAlready(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	keys := keysAtRandom(random, 60)
	for range 200 {
		m := newExactModel(256, 60+spareEntries+1)
		for i, key := range keys[:40] {
			m.putVIP(key, lbVip{Service: uint32(i)})
		}
		m.vips[keys[random.IntN(60)]] = lbVip{Service: 1000}
		delete(m.vips, keys[random.IntN(60)])
		right, sharing, was := make(map[uint32]bool), make(map[uint32]int), slices.Clone(m.lines)
		for key, value := range m.vips {
			place := m.placeOf(key)
			sharing[place]++
			got, found := m.find(key)
			right[place] = sharing[place] == 1 && found && got == value && *placeIn(m.lines, place) != lbVipPlaceVIP_ASK
		}
		again := exactModel{newExactVIPs(42, m.lines, m.entries), m.vips}
		again.follow(m.vips)
		again.check(t, keys)
		for place, is := range right {
			if now := *placeIn(m.lines, place); is && now != *placeIn(was, place) {
				t.Errorf("place %d led to entry %d, which was right, and leads to %d", place, *placeIn(was, place), now)
			}
		}
		for i, key := range keys {
			again.putVIP(key, lbVip{Service: uint32(i)})
		}
		again.check(t, keys)
	}
}

func TestPrivilegedPacketsForEachOfManyVIPsAreForwardedAndForNoOther(t *testing.T) {
	const many = 160
	h := newHarness(t)
	all := exactVIPsAtRandom(rand.New(rand.NewPCG(1, 2)), 2*many)
	service := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	send := func(of []dataplane.VIP, want string) {
		t.Helper()
		for _, vip := range of {
			if got := h.send(frameTo(vip, make([]byte, 32))); got.moved[want] != 1 {
				t.Fatalf("a packet to %v moves %v, want %s", vip, got.moved, want)
			}
		}
	}
	for range 2 {
		service.VIPs = all[:many]
		h.want(service)
		shared := slices.IndexFunc(h.plane.exact.lines, func(line lbVipLine) bool { return slices.Contains(line.Entry[:], lbVipPlaceVIP_ASK) })
		if shared < 0 {
			t.Fatal("no two VIPs share a place: this shows half of what it should")
		}
		send(all[:many], "backend 1")
		send(all[many:], "PASS_NOT_VIP")
		slices.Reverse(all)
	}
}

// The VIP is put anew all the time, as for each phase that begins or ends, and one that
// has its place comes and goes.
func TestPrivilegedPacketsForAVIPAreForwardedWhileItsPlaceChanges(t *testing.T) {
	const changes, packets, atOnce = 2000, 1 << 18, 1 << 15
	h := newHarness(t)
	service := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	sharePlace(&service)
	h.want(service)
	kept, other := service.VIPs[0], service.VIPs[len(service.VIPs)-1]
	entry := h.tables.VIPs[kept]
	driver := flowDriver(t, h.plane.objects.PointsmanLb, 16, segment4)
	before, over, done := h.counters(), make(chan struct{}), make(chan error)
	var sent atomic.Uint64
	go func() {
		var failures error
		for {
			_, _, err := driver.Benchmark(segment4.frame(), atOnce, nil)
			sent.Add(atOnce)
			select {
			case <-over:
				done <- errors.Join(failures, err)
				return
			default:
				failures = errors.Join(failures, err)
			}
		}
	}()
	var failure error
	for i := 0; i < changes || sent.Load() < packets; i++ {
		entry.Unsettled = !entry.Unsettled
		failure = errors.Join(failure, h.plane.Write(dataplane.PutVIP{VIP: kept, Entry: entry}),
			h.plane.Write(dataplane.PutVIP{VIP: other, Entry: entry}), h.plane.Write(dataplane.DeleteVIP{VIP: other}))
	}
	close(over)
	if err := errors.Join(failure, <-done); err != nil {
		t.Fatal(err)
	}
	after := h.counters()
	// A run that a signal interrupts is begun anew, so that there may be more than were asked for.
	if got := after["backend 1"] - before["backend 1"]; got < sent.Load() || after["PASS_NOT_VIP"] != before["PASS_NOT_VIP"] {
		t.Errorf("%d of %d packets were forwarded, and %d passed", got, sent.Load(), after["PASS_NOT_VIP"]-before["PASS_NOT_VIP"])
	}
}

func TestPrivilegedARestartLeadsToVIPsThatADeadDaemonHadOnlyBegunToPut(t *testing.T) {
	dir := pinDir(t)
	h := harnessOn(t, openTest(t, dir, 4096))
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	if _, err := h.plane.Attach(nil); err != nil {
		t.Fatal(err)
	}
	kept, begun, gone := h.wanted.Services[0].VIPs[0], h.wanted.Services[0].VIPs[0], h.wanted.Services[0].VIPs[1]
	begun.Port = 4711
	if err := h.plane.objects.Vips.Put(encodeVIP(begun), encodeVIPEntry(h.tables.VIPs[kept])); err != nil {
		t.Fatal(err)
	}
	if err := h.plane.objects.Vips.Delete(encodeVIP(gone)); err != nil {
		t.Fatal(err)
	}
	if err := h.plane.Close(); err != nil {
		t.Fatal(err)
	}
	again := harnessOn(t, openTest(t, dir, 4096))
	for vip, want := range map[dataplane.VIP]string{kept: "backend 1", begun: "backend 1", gone: "PASS_NOT_VIP"} {
		if got := again.send(frameTo(vip, make([]byte, 32))); got.moved[want] != 1 {
			t.Errorf("a packet to %v moves %v, want %s", vip, got.moved, want)
		}
	}
}
