package kernel

import (
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// The way of kernels before 6.6, which newer ones still have.
func TestPrivilegedDecapFilterTakesAlongOnlyWhatIsIts(t *testing.T) {
	for _, theirs := range []bool{false, true} {
		name := map[bool]string{false: "its own qdisc", true: "a qdisc that was there before"}[theirs]
		t.Run(name, func(t *testing.T) {
			h := newDecapHost(t, "eth0")
			f := decapFilter{"", h.iface.Attrs().Index, decapFilterIn}
			if theirs {
				if err := netlink.QdiscAdd(f.qdisc()); err != nil {
					t.Fatal(err)
				}
			}
			dir, _, err := makeDecapDir(h.pinDir, "eth0")
			if err != nil {
				t.Fatal(err)
			}
			objs := newDecapBench(t).objs
			if err := attachDecapFilter(dir, h.iface.Attrs().Index, objs); err != nil {
				t.Fatal(err)
			}
			for range 2 { // once more swaps the program under the same filter
				hooks, err := findDecapHooks(dir, h.iface.Attrs().Index)
				if err != nil || len(hooks) != 1 {
					t.Fatalf("found %v, %v", hooks, err)
				}
				if err := hooks[0].swap(objs); err != nil {
					t.Fatal(err)
				}
				if ours, others, err := f.filters(); !ours || others != 0 || err != nil {
					t.Fatalf("ours %v, others %d, %v", ours, others, err)
				}
			}
			removed, err := CloseDecap(h.pinDir, "eth0")
			if err != nil || !slices.Contains(removed, "tc program") {
				t.Fatalf("removed %v, %v", removed, err)
			}
			if present, err := f.findQdisc(); present != theirs || err != nil {
				t.Errorf("the qdisc is there: %v, %v", present, err)
			}
		})
	}
}
