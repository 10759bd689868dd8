package kernel

import (
	"errors"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

func (h *harness) watchDrops() dataplane.Drops {
	h.t.Helper()
	drops, err := h.plane.WatchDrops()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := drops.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return drops
}

// told is all that the program has told of.
func told(t *testing.T, drops dataplane.Drops) (all []dataplane.Dropped) {
	t.Helper()
	for {
		one, err := drops.Read(time.Now())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

func TestPrivilegedADropIsToldOfWithItsReasonAndItsEnds(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("dead"))
	drops := h.watchDrops()
	from4, to4 := netip.AddrPortFrom(client4, 40000), netip.AddrPortFrom(vip4, 80)
	from6, to6 := netip.AddrPortFrom(client6, 40000), netip.AddrPortFrom(vip6, 80)
	syn4, udp6 := flow{protocol: dataplane.TCP}.frame(), flow{protocol: dataplane.UDP, v6: true}.frame()
	short := syn4[:14+20+10] // of TCP
	for _, row := range []struct {
		promise string
		frame   []byte
		want    *dataplane.Dropped
	}{
		{"of IPv4", syn4, &dataplane.Dropped{Outcome: "DROP_NO_BACKEND", Protocol: dataplane.TCP, Source: from4, Destination: to4}},
		{"of IPv6", udp6, &dataplane.Dropped{Outcome: "DROP_NO_BACKEND", Protocol: dataplane.UDP, Source: from6, Destination: to6}},
		{"with its tag", tagged(syn4, 0x8100), &dataplane.Dropped{Outcome: "DROP_NO_BACKEND", Protocol: dataplane.TCP, Source: from4, Destination: to4, VLAN: []int{7}}},
		{"and with two", tagged(tagged(udp6, 0x8100), 0x88a8), &dataplane.Dropped{Outcome: "DROP_NO_BACKEND", Protocol: dataplane.UDP, Source: from6, Destination: to6, VLAN: []int{7, 7}}},
		{"without the ports that it does not have", short, &dataplane.Dropped{Outcome: "DROP_UNREADABLE", Protocol: dataplane.TCP,
			Source: netip.AddrPortFrom(client4, 0), Destination: netip.AddrPortFrom(vip4, 0)}},
		{"and what is passed is not told of", flow{protocol: dataplane.TCP, port: 81}.frame(), nil},
	} {
		t.Run(row.promise, func(t *testing.T) {
			h.send(row.frame)
			if got := told(t, drops); len(got) > 0 {
				t.Errorf("while nobody watches, told of is %+v", got)
			}
			began := time.Now()
			if err := drops.Watch(true); err != nil {
				t.Fatal(err)
			}
			h.send(row.frame)
			got := told(t, drops)
			if err := drops.Watch(false); err != nil {
				t.Fatal(err)
			}
			if row.want == nil {
				if len(got) > 0 {
					t.Errorf("told of is %+v", got)
				}
				return
			}
			want := *row.want
			want.Interface, want.Length = loopback, len(row.frame)
			if len(got) != 1 || got[0].At.Before(began.Add(-10*time.Millisecond)) || got[0].At.After(time.Now().Add(10*time.Millisecond)) {
				t.Fatalf("told of are %+v, which began at %v", got, began)
			}
			if got[0].At = (time.Time{}); !reflect.DeepEqual(got[0], want) {
				t.Errorf("told of is %+v, want %+v", got[0], want)
			}
		})
	}
}

func TestPrivilegedAFloodOfDropsIsToldOfInPartAndCountedInWhole(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("dead"))
	drops := h.watchDrops()
	if err := drops.Watch(true); err != nil {
		t.Fatal(err)
	}
	const flood = 5000
	began := time.Now()
	if _, _, err := h.plane.objects.PointsmanLb.Benchmark(flow{protocol: dataplane.TCP}.frame(), flood, nil); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) > watchLasts*time.Second {
		t.Fatal("this machine is too slow to tell")
	}
	got := len(told(t, drops))
	untold, err := drops.Untold()
	// A hundred a second, and the flood may have seen several begin.
	if err != nil || got < 100 || got > 100*(watchLasts+1) || uint64(got)+untold != flood {
		t.Errorf("%d drops were told of and %d were not, of %d: %v", got, untold, flood, err)
	}
}

func TestPrivilegedDropsAreNotToldOfToADaemonThatDied(t *testing.T) {
	h := newHarness(t)
	h.want(serviceOn("dead"))
	drops := h.watchDrops()
	if err := drops.Watch(true); err != nil {
		t.Fatal(err)
	}
	// The second has come until which it was watched.
	atomic.AddUint32(&h.plane.mapped.switches.WatchDrops, ^uint32(watchLasts-1))
	h.send(flow{protocol: dataplane.TCP}.frame())
	if got := told(t, drops); len(got) > 0 {
		t.Errorf("told of is %+v", got)
	}
	if err := drops.Watch(true); err != nil {
		t.Fatal(err)
	}
	// A daemon that starts begins with nobody who watches.
	h.watchDrops()
	if until := atomic.LoadUint32(&h.plane.mapped.switches.WatchDrops); until != 0 {
		t.Errorf("drops are watched until %d", until)
	}
}

// The program tells of drops by this order.
func TestOutcomesThatGoNowhereAreTheLast(t *testing.T) {
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	names, err := outcomeNames(spec.Types)
	if err != nil {
		t.Fatal(err)
	}
	for number, name := range names {
		nowhere := strings.HasPrefix(name, "DROP_") || strings.HasPrefix(name, "HOLD_")
		if nowhere != (number >= int(lbOutcomeHOLD_FRAGMENT)) {
			t.Errorf("%s is number %d, on the wrong side of HOLD_FRAGMENT", name, number)
		}
	}
}
