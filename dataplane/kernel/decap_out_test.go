package kernel

import (
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// outPrograms are the ids of tcx programs and the number of filters on the way
// out of an interface.
func outPrograms(t *testing.T, iface string) (tcx []ebpf.ProgramID, filters int) {
	t.Helper()
	found, err := netlink.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	if result, err := link.QueryPrograms(link.QueryOptions{Target: found.Attrs().Index, Attach: ebpf.AttachTCXEgress}); err == nil {
		for _, program := range result.Programs {
			tcx = append(tcx, program.ID)
		}
	}
	list, err := netlink.FilterList(found, netlink.HANDLE_MIN_EGRESS)
	if err != nil {
		t.Fatal(err)
	}
	return tcx, len(list)
}

// attachedOut tells whether exactly one program of the way out is there, or none.
func attachedOut(t *testing.T, iface string) bool {
	t.Helper()
	tcx, filters := outPrograms(t, iface)
	if len(tcx)+filters > 1 {
		t.Fatalf("on the way out of %s are programs %v and %d filters", iface, tcx, filters)
	}
	return len(tcx)+filters == 1
}

func (h *decapHost) mapPorts(ports []DecapPort, out ...string) {
	h.options.VIPs = append(h.options.VIPs, alone(mappedVIP4), alone(mappedVIP6))
	h.options.Ports, h.options.Out = ports, out
}

func TestPrivilegedDecapMapsBackOnlyWhereThereIsSomethingToMap(t *testing.T) {
	h := newDecapHost(t, "eth0.100")
	h.open(t, DecapAuto)
	if attachedOut(t, "eth0.100") {
		t.Error("attached on the way out, and nothing is mapped")
	}
	h.mapPorts(mappedPorts(), "eth0.100", "peer", "eth0.100")
	attachment := h.open(t, DecapAuto)
	if !attachedOut(t, "eth0.100") || !attachedOut(t, "peer") || !slices.Equal(attachment.Out, []string{"eth0.100", "peer"}) {
		t.Errorf("with mappings attached to %v", attachment.Out)
	}
	before, _ := outPrograms(t, "peer")
	h.open(t, DecapAuto)
	after, filters := outPrograms(t, "peer")
	if filters == 0 && (len(before) != 1 || len(after) != 1 || before[0] == after[0]) {
		t.Errorf("once more did not swap the program: %v, then %v", before, after)
	}
	h.options.Out = []string{"peer"}
	h.open(t, DecapTC)
	if attachedOut(t, "eth0.100") || !attachedOut(t, "peer") {
		t.Error("answers leave by another interface now, and the program did not follow")
	}
	h.options.Ports = nil
	h.open(t, DecapAuto)
	if attachedOut(t, "eth0.100") || attachedOut(t, "peer") {
		t.Error("still attached on the way out, and nothing is mapped any more")
	}
	h.options.Ports = mappedPorts()
	h.open(t, DecapAuto)
	h.leavesNothing(t)
	if attachedOut(t, "peer") {
		t.Error("closing left the program of the way out")
	}
}

func TestPrivilegedDecapRefusesAWayOutThatIsNotThere(t *testing.T) {
	h := newDecapHost(t, "eth0")
	h.mapPorts(mappedPorts(), "eth9")
	if _, err := OpenDecap(h.options); err == nil {
		t.Error("attached to what is not there")
	}
	if entries, err := os.ReadDir(h.pinDir); err == nil && len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
}

func TestPrivilegedDecapOutlivesAWayOut(t *testing.T) {
	h := newDecapHost(t, "eth0")
	other := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "peer1"}
	if err := netlink.LinkAdd(other); err != nil {
		t.Fatal(err)
	}
	h.mapPorts(mappedPorts(), "eth0", "eth1")
	h.open(t, DecapAuto)
	if err := netlink.LinkDel(other); err != nil {
		t.Fatal(err)
	}
	h.options.Out = []string{"eth0"}
	h.open(t, DecapAuto)
	if left, err := decapOutInterfaces(decapDir(h.pinDir, "eth0")); err != nil || !slices.Equal(left, []string{"eth0"}) {
		t.Errorf("pins of %v, %v", left, err)
	}
	h.leavesNothing(t)
}

// The way of kernels before 6.6. Both ways share a qdisc, whose owner is noted
// for as long as it is there, whichever way goes first.
func TestPrivilegedDecapFiltersOfBothWaysShareAQdisc(t *testing.T) {
	for _, theirs := range []bool{false, true} {
		for _, outFirst := range []bool{false, true} {
			h := newDecapHost(t, "eth0")
			ifindex := h.iface.Attrs().Index
			in := decapFilter{decapDir(h.pinDir, "eth0"), ifindex, decapFilterIn}
			if theirs {
				if err := netlink.QdiscAdd(in.qdisc()); err != nil {
					t.Fatal(err)
				}
			}
			dir, _, err := makeDecapDir(h.pinDir, "eth0")
			if err != nil {
				t.Fatal(err)
			}
			objs := newDecapBench(t).objs
			out := newDecapOut(dir, ifindex, "eth0")
			attach := []func() error{
				func() error { return in.attach(objs.PointsmanDecapTc) },
				func() error { return out.filter.attach(objs.PointsmanDecapOut) },
			}
			if outFirst {
				slices.Reverse(attach)
			}
			for _, attach := range attach {
				if err := attach(); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.attach(objs.PointsmanDecapOut); err != nil { // once more swaps
				t.Fatal(err)
			}
			if _, filters := outPrograms(t, "eth0"); filters != 1 {
				t.Fatalf("%d filters on the way out", filters)
			}
			if outFirst {
				if err := out.detach(); err != nil {
					t.Fatal(err)
				}
				if hooks, err := findDecapHooks(dir, ifindex); err != nil || len(hooks) != 1 {
					t.Fatalf("the way in found %v, %v", hooks, err)
				}
			}
			if _, err := CloseDecap(h.pinDir, "eth0"); err != nil {
				t.Fatal(err)
			}
			if present, err := in.findQdisc(); present != theirs || err != nil {
				t.Errorf("theirs %v, out first %v: the qdisc is there: %v, %v", theirs, outFirst, present, err)
			}
		}
	}
}

func TestPrivilegedDecapListsTheMappingsThatAreInEffect(t *testing.T) {
	h := newDecapHost(t, "eth0")
	h.mapPorts(mappedPorts(), "eth0")
	h.open(t, DecapAuto)
	want := slices.SortedFunc(slices.Values(mappedPorts()), compareDecapPorts)
	if got, err := DecapPorts(h.pinDir, "eth0"); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	h.leavesNothing(t)
}
