package kernel

import (
	"bytes"
	"errors"
	"maps"
	"runtime"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// holding is a harness whose fragments somebody holds, if the kernel can.
func holding(t *testing.T) (*harness, dataplane.Fragments) {
	t.Helper()
	h := newHarness(t)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	return h, h.holding(t)
}

// holding has somebody hold fragments from now on.
func (h *harness) holding(t *testing.T) dataplane.Fragments {
	t.Helper()
	held, err := h.plane.HoldFragments()
	if errors.Is(err, dataplane.ErrCannotHold) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return held
}

// again lets the program see a held fragment once more and says what it counted.
func again(t *testing.T, h *harness, held dataplane.Fragments, fragment dataplane.Fragment) map[string]uint64 {
	t.Helper()
	before := h.counters()
	if err := held.SendAgain(fragment); err != nil {
		t.Fatal(err)
	}
	moved := h.counters()
	for name, count := range before {
		moved[name] -= count
	}
	maps.DeleteFunc(moved, func(_ string, count uint64) bool { return count == 0 })
	return moved
}

func TestPrivilegedAFragmentBeforeItsFirstIsHandedOverWholeAndSentAgain(t *testing.T) {
	h, held := holding(t)
	for _, v6 := range []bool{false, true} {
		parts := threeParts(v6)
		for _, late := range [][]byte{parts[2], threeParts(v6, vlan7)[1]} {
			h.forgetFragments()
			expect(t, h.send(late), xdpDrop, late, "HOLD_FRAGMENT")
			got, err := held.Read()
			if err != nil || !bytes.Equal(got.Frame, late) || got.Interface != loopback {
				t.Fatalf("read %x of interface %d, %v, want %x", got.Frame, got.Interface, err, late)
			}
			if come, err := held.FirstHasCome(got.Key); come || err != nil {
				t.Errorf("its first has come: %v", err)
			}
			h.send(parts[0])
			if come, err := held.FirstHasCome(got.Key); !come || err != nil {
				t.Errorf("its first has not come: %v", err)
			}
			if moved := again(t, h, held, got); moved["backend 1"] != 1 || len(moved) != 1 {
				t.Errorf("sent again it is counted as %v", moved)
			}
		}
	}
}

// forgetFragments lets no first fragment have come.
func (h *harness) forgetFragments() {
	h.t.Helper()
	var key lbFragmentKey
	var way lbFragmentWay
	for entries := h.plane.objects.Fragments.Iterate(); entries.Next(&key, &way); entries = h.plane.objects.Fragments.Iterate() {
		if err := h.plane.objects.Fragments.Delete(key); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestPrivilegedAFragmentIsNotHeldTwice(t *testing.T) {
	h, held := holding(t)
	late := threeParts(false)[1]
	expect(t, h.send(late), xdpDrop, late, "HOLD_FRAGMENT")
	got, err := held.Read()
	if err != nil {
		t.Fatal(err)
	}
	if moved := again(t, h, held, got); moved["DROP_FRAGMENT"] != 1 || len(moved) != 1 {
		t.Errorf("sent again without its first it is counted as %v", moved)
	}
}

func TestPrivilegedNobodyWhoReadsMeansThatNothingIsHeld(t *testing.T) {
	h, held := holding(t)
	late := threeParts(false)[1]
	for full := uint32(0); h.send(late).moved["HOLD_FRAGMENT"] == 1; full++ {
		if full > h.plane.objects.HeldFragments.MaxEntries()/uint32(len(late)) {
			t.Fatal("a reader that does not read holds without end")
		}
	}
	expect(t, h.send(late), xdpDrop, late, "DROP_FRAGMENT")
	if _, err := held.Read(); err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, h.send(late), xdpDrop, late, "DROP_FRAGMENT")
	if _, err := held.Read(); !errors.Is(err, dataplane.ErrClosed) {
		t.Errorf("reading on says %v", err)
	}
}

func TestPrivilegedADaemonThatDiedHoldsNothingSoon(t *testing.T) {
	h, held := holding(t)
	late := threeParts(false)[1]
	expect(t, h.send(late), xdpDrop, late, "HOLD_FRAGMENT")
	// As when nobody has renewed it for as long as it lasts.
	if err := held.(*fragments).hold(monotonicSecond()); err != nil {
		t.Fatal(err)
	}
	expect(t, h.send(late), xdpDrop, late, "DROP_FRAGMENT")
}

func TestPrivilegedReadingHasFragmentsHeldForLonger(t *testing.T) {
	h, held := holding(t)
	f := held.(*fragments)
	f.renewed = time.Now().Add(-time.Second)
	if err := f.hold(monotonicSecond()); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() { _, err := held.Read(); read <- err }()
	late := threeParts(false)[1]
	for h.send(late).moved["HOLD_FRAGMENT"] == 0 { // until the reader has said so
		runtime.Gosched()
	}
	if err := <-read; err != nil {
		t.Error(err)
	}
}
