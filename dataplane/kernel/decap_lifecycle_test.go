package kernel

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// decapHost is a network namespace with one interface, and a folder for pins.
type decapHost struct {
	pinDir  string
	iface   netlink.Link
	options DecapOptions
}

// newDecapHost moves the test's thread into a namespace of its own; the thread
// ends with the test.
func newDecapHost(t *testing.T, iface string) *decapHost {
	t.Helper()
	needRoot(t)
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: iface}, PeerName: "peer"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	added, err := netlink.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	pinDir, err := os.MkdirTemp("/sys/fs/bpf", "pointsman-decap-")
	if err != nil {
		t.Fatalf("the tests pin on the BPF filesystem at /sys/fs/bpf: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(pinDir) })
	return &decapHost{pinDir, added, DecapOptions{
		Interface: iface,
		VIPs:      []netip.Prefix{alone(decapVIP4), alone(decapVIP6)},
		From:      []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")},
		PinDir:    pinDir,
	}}
}

func (h *decapHost) open(t *testing.T, mode DecapMode) DecapAttachment {
	t.Helper()
	options := h.options
	options.Mode = mode
	attachment, err := OpenDecap(options)
	if err != nil {
		t.Fatal(err)
	}
	return attachment
}

// programs are the ids of the programs that the interface runs.
func (h *decapHost) programs(t *testing.T) (xdp uint32, tc []ebpf.ProgramID) {
	t.Helper()
	iface, err := netlink.LinkByIndex(h.iface.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	if iface.Attrs().Xdp != nil {
		xdp = iface.Attrs().Xdp.ProgId
	}
	tc, err = tcPrograms(h.iface)
	if err != nil {
		t.Fatal(err)
	}
	return xdp, tc
}

// leavesNothing closes and checks that neither programs, filters nor pins are left.
func (h *decapHost) leavesNothing(t *testing.T) {
	t.Helper()
	if _, err := CloseDecap(h.pinDir, h.options.Interface); err != nil {
		t.Fatal(err)
	}
	xdp, tc := h.programs(t)
	if xdp != 0 || len(tc) != 0 {
		t.Errorf("XDP program %d and tc programs %v are still attached", xdp, tc)
	}
	if _, err := os.Stat(decapDir(h.pinDir, h.options.Interface)); !os.IsNotExist(err) {
		t.Errorf("the folder for pins is still there")
	}
	again, err := CloseDecap(h.pinDir, h.options.Interface)
	if err != nil || len(again) != 0 {
		t.Errorf("closing again removed %v, %v", again, err)
	}
}

func TestPrivilegedDecapAttachesAsAsked(t *testing.T) {
	rows := []struct {
		name    string
		asked   DecapMode
		want    string
		xdp, tc bool
	}{
		{"unless told otherwise native XDP where the driver has it", DecapAuto, "native", true, false},
		{"native XDP and nothing else", DecapXDP, "native", true, false},
		{"generic XDP", DecapGeneric, "generic", true, false},
		{"tc", DecapTC, "tc", false, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newDecapHost(t, "eth0.100")
			attachment := h.open(t, row.asked)
			xdp, tc := h.programs(t)
			if attachment.Mode != row.want || xdp != 0 != row.xdp || len(tc) != 0 != row.tc {
				t.Errorf("attached as %q; XDP program %d, tc programs %v", attachment.Mode, xdp, tc)
			}
			h.leavesNothing(t)
		})
	}
}

func TestPrivilegedDecapSaysWhyNotFaster(t *testing.T) {
	h := newDecapHost(t, "eth0")
	occupant := newDecapBench(t).objs.PointsmanDecap
	if err := netlink.LinkSetXdpFdWithFlags(h.iface, occupant.FD(), unix.XDP_FLAGS_DRV_MODE); err != nil {
		t.Fatal(err)
	}
	attachment := h.open(t, DecapAuto)
	if attachment.Mode != "tc" || !strings.Contains(attachment.Reason, "native refused: ") || !strings.Contains(attachment.Reason, "generic refused: ") {
		t.Errorf("beside another's XDP program: %+v", attachment)
	}
	options := h.options
	options.Mode = DecapXDP
	if _, err := OpenDecap(options); err == nil {
		t.Error("another's XDP program was replaced")
	}
	if attachment := h.open(t, DecapAuto); attachment.Mode != "tc" {
		t.Errorf("after an attempt that was refused: %+v", attachment)
	}
	if _, err := CloseDecap(h.pinDir, "eth0"); err != nil {
		t.Fatal(err)
	}
	if xdp, _ := h.programs(t); xdp == 0 {
		t.Error("closing took another's XDP program off")
	}
}

func TestPrivilegedDecapStaysGenericAndSaysSo(t *testing.T) {
	h := newDecapHost(t, "eth0")
	h.open(t, DecapGeneric)
	if attachment := h.open(t, DecapAuto); attachment.Mode != "generic" || attachment.Reason == "" {
		t.Errorf("%+v", attachment)
	}
	h.leavesNothing(t)
}

func TestPrivilegedDecapRefusedLeavesNoTrace(t *testing.T) {
	h := newDecapHost(t, "eth0")
	occupant := newDecapBench(t).objs.PointsmanDecap
	if err := netlink.LinkSetXdpFdWithFlags(h.iface, occupant.FD(), unix.XDP_FLAGS_DRV_MODE); err != nil {
		t.Fatal(err)
	}
	options := h.options
	options.Mode = DecapXDP
	if _, err := OpenDecap(options); err == nil {
		t.Fatal("attached beside another's XDP program")
	}
	if entries, err := os.ReadDir(h.pinDir); err == nil && len(entries) > 0 {
		t.Errorf("left %v", entries)
	}
}

func TestPrivilegedDecapChangesWhileAttached(t *testing.T) {
	h := newDecapHost(t, "eth0")
	h.open(t, DecapAuto)
	old, _ := h.programs(t)
	inner := decapInner(false, 0)
	frame := decapFrame(decapOuter(false, 0, inner))
	if got := h.outcomeOf(t, frame); got != "DECAPSULATE" {
		t.Fatalf("a tunnel packet at first: %s", got)
	}

	h.options.VIPs = []netip.Prefix{alone(decapVIP6)}
	h.options.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.9/32")}
	h.open(t, DecapAuto)
	if now, _ := h.programs(t); now == old || now == 0 {
		t.Errorf("the program was not swapped: %d, then %d", old, now)
	}
	if got := h.outcomeOf(t, frame); got != "PASS_NOT_OUR_VIP" {
		t.Errorf("to a VIP that is not ours any more: %s", got)
	}
	if got := h.outcomeOf(t, decapFrame(decapOuter(false, 0, decapInner(true, 0)))); got != "DROP_SOURCE_NOT_ALLOWED" {
		t.Errorf("from a balancer that is not ours any more: %s", got)
	}
	counters, err := DecapCounters(h.pinDir, "eth0")
	if err != nil || counters["DECAPSULATE"] != 1 {
		t.Errorf("counters did not outlive the swap: %v, %v", counters, err)
	}
	for _, mode := range []DecapMode{DecapTC, DecapGeneric, DecapXDP, DecapTC, DecapAuto} {
		attachment := h.open(t, mode)
		xdp, tc := h.programs(t)
		if attached := (xdp != 0) != (len(tc) == 1); !attached || len(tc) > 1 {
			t.Errorf("asked for %s, got %s: XDP program %d, tc programs %v", mode, attachment.Mode, xdp, tc)
		}
	}
	h.leavesNothing(t)
}

// outcomeOf runs a frame through a program on the pinned maps.
func (h *decapHost) outcomeOf(t *testing.T, frame []byte) string {
	t.Helper()
	before, err := DecapCounters(h.pinDir, h.options.Interface)
	if err != nil {
		t.Fatal(err)
	}
	objs, err := loadDecapPinned(decapDir(h.pinDir, h.options.Interface))
	if err != nil {
		t.Fatal(err)
	}
	defer objs.Close()
	if _, _, err := objs.PointsmanDecap.Test(frame); err != nil {
		t.Fatal(err)
	}
	after, err := DecapCounters(h.pinDir, h.options.Interface)
	if err != nil {
		t.Fatal(err)
	}
	for name := range after {
		if after[name] != before[name] {
			return name
		}
	}
	return ""
}

func TestPrivilegedDecapOutlivesItsInterface(t *testing.T) {
	h := newDecapHost(t, "eth0")
	for _, mode := range []DecapMode{DecapXDP, DecapTC} {
		h.open(t, mode)
		if err := netlink.LinkDel(h.iface); err != nil {
			t.Fatal(err)
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer"}
		if err := netlink.LinkAdd(veth); err != nil {
			t.Fatal(err)
		}
		h.iface, _ = netlink.LinkByName("eth0")
		h.open(t, mode)
		xdp, tc := h.programs(t)
		if xdp == 0 && len(tc) == 0 {
			t.Errorf("%s: nothing is attached to the new interface", mode)
		}
	}
	if err := netlink.LinkDel(h.iface); err != nil {
		t.Fatal(err)
	}
	if removed, err := CloseDecap(h.pinDir, "eth0"); err != nil || len(removed) != 1 {
		t.Errorf("closing without the interface: %v, %v", removed, err)
	}
}

func TestPrivilegedDecapErrorsNameWhatIsWrong(t *testing.T) {
	h := newDecapHost(t, "eth0")
	rows := []struct {
		name   string
		change func(*DecapOptions)
		want   string
	}{
		{"an interface that is not there", func(o *DecapOptions) { o.Interface = "eth9" }, "looking up interface eth9"},
		{"pins on an ordinary disk", func(o *DecapOptions) { o.PinDir = t.TempDir() + "/pins" }, "mount -t bpf bpf /sys/fs/bpf"},
		{"no VIP", func(o *DecapOptions) { o.VIPs = nil }, "at least one VIP"},
		{"a mode that does not exist", func(o *DecapOptions) { o.Mode = "fast" }, `unknown mode "fast"`},
	}
	for _, row := range rows {
		options := h.options
		row.change(&options)
		if _, err := OpenDecap(options); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// tcPrograms are those of tc's links, which there are from Linux 6.6 on, and of
// its filters.
func tcPrograms(iface netlink.Link) ([]ebpf.ProgramID, error) {
	var ids []ebpf.ProgramID
	result, err := link.QueryPrograms(link.QueryOptions{Target: iface.Attrs().Index, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		for _, program := range result.Programs {
			ids = append(ids, program.ID)
		}
	} else if !errors.Is(err, unix.EINVAL) {
		return nil, err
	}
	filters, err := netlink.FilterList(iface, netlink.HANDLE_MIN_INGRESS)
	for _, filter := range filters {
		if bpf, is := filter.(*netlink.BpfFilter); is {
			ids = append(ids, ebpf.ProgramID(bpf.Id))
		}
	}
	return ids, err
}
