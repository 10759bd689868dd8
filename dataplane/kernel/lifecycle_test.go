package kernel

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// randomServices is a wanted state of up to four services.
func randomServices(random *rand.Rand) []dataplane.Service {
	var services []dataplane.Service
	wide := make(map[dataplane.VIP]bool) // any port may be drawn twice
	for _, name := range []string{"api", "dns", "mail", "web"} {
		if random.IntN(4) == 0 {
			continue
		}
		service := dataplane.Service{Name: name, Slots: 251}
		for port := range 1 + random.IntN(3) {
			addr := []netip.Addr{vip4, vip6}[random.IntN(2)]
			service.VIPs = append(service.VIPs, dataplane.VIP{Addr: addr, Port: uint16(100*len(services) + port + 1), Protocol: dataplane.TCP})
		}
		if vip := wideVIP(random, uint16(100*len(services)+50)); random.IntN(3) == 0 && !wide[vip] {
			wide[vip] = true
			service.VIPs = append(service.VIPs, vip)
			service.QUIC = dataplane.QUIC{Offset: 1, Length: uint8(1 + random.IntN(8))}
		}
		for host := range random.IntN(5) {
			addr := netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + host)})
			if random.IntN(2) == 0 {
				addr = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(10 + host)})
			}
			backend := backendTo(addr, dataplane.IPIP+dataplane.Forward(random.IntN(3)), loopback)
			backend.Port = uint16(random.IntN(2) * 80)
			backend.Weight = uint16(random.IntN(3))
			backend.Hop.VLAN[0] = uint16(random.IntN(3) * 100)
			if length := int(service.QUIC.Length); length > 0 {
				id := addr.As16()
				backend.QUICID = string(id[16-length:])
			}
			service.Backends = append(service.Backends, backend)
		}
		services = append(services, service)
	}
	return services
}

func TestPrivilegedTheKernelHoldsWhatTheStepsSay(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t)
	var quarantine dataplane.Quarantine
	for second := range uint32(200) {
		h.want(randomServices(random)...)
		h.apply(quarantine.Release(h.tables, dataplane.Census{}, 2*dataplane.FragmentSeconds*second)...)
		got, err := h.plane.Tables()
		if err != nil {
			t.Fatal(err)
		}
		equal := maps.Equal(got.Services, h.tables.Services) && maps.Equal(got.VIPs, h.tables.VIPs) &&
			maps.Equal(got.Backends, h.tables.Backends) && maps.Equal(got.Egress, h.tables.Egress) &&
			maps.Equal(got.Addresses, h.tables.Addresses) &&
			maps.Equal(got.Prefixes, h.tables.Prefixes) && got.SeesWide == h.tables.SeesWide &&
			maps.Equal(got.QUICIDs, h.tables.QUICIDs)
		if !equal {
			t.Fatalf("the kernel holds\n%+v, the steps say\n%+v", got, h.tables)
		}
		if found, err := h.plane.Mend(h.tables); err != nil || len(found) > 0 {
			t.Fatalf("what we did ourselves is taken for someone else's doing: %q, %v", found, err)
		}
	}
}

func TestPrivilegedARestartAdoptsTheMaps(t *testing.T) {
	egress := inNamespace(t)
	dir := pinDir(t)
	first := openTest(t, dir, 4096)
	h := harnessOn(t, first)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, egress)))
	if _, err := first.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	index, _ := onlyBackend(t, h)
	h.send(flow{protocol: dataplane.TCP}.frame())
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := harnessOn(t, openTest(t, dir, 4096))
	if len(second.tables.VIPs) != 4 || len(second.tables.Backends) != 1 {
		t.Errorf("the second process reads %+v", second.tables)
	}
	if steps, _ := dataplane.Diff(second.tables, dataplane.State{Services: []dataplane.Service{serviceOn("web", backendTo(backend4, dataplane.IPIP, egress))}}); len(steps) > 0 {
		t.Errorf("the second process would change what is right: %v", steps)
	}
	counters, err := second.plane.Counters()
	if err != nil || counters.Backends[index].Packets != 1 {
		t.Errorf("counters did not go on: %+v, %v", counters, err)
	}
	before := attachedProgram(t, "egress0")
	attachments, err := second.plane.Attach([]string{"egress0"})
	if err != nil || len(attachments) != 1 || attachments[0].Mode != "native" {
		t.Errorf("attaching again gives %+v, %v", attachments, err)
	}
	if after := attachedProgram(t, "egress0"); after == before || after == 0 {
		t.Errorf("the program on the interface was %d and is %d", before, after)
	}
}

func TestPrivilegedMapsOfAnotherSizeTakeOverWhenTheProgramDoes(t *testing.T) {
	inNamespace(t)
	dir := pinDir(t)
	first := harnessOn(t, openTest(t, dir, 4096))
	old := serviceOn("old", backendTo(backend4, dataplane.IPIP, loopback))
	first.want(old)
	if _, err := first.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	first.send(frame(ip4(), tcpTo(80, packet.SYN|0x01, 64)))
	dropped := map[string]map[string]uint64{"old": {"DROP_BAD_FLAGS": 1}}

	larger := harnessOn(t, openTest(t, dir, 8192))
	if len(larger.tables.VIPs) != 4 || len(larger.tables.Slots) != 8192 {
		t.Fatalf("the new maps hold %d VIPs and %d slots, want 4 and 8192", len(larger.tables.VIPs), len(larger.tables.Slots))
	}
	larger.wantDropped(dropped)
	added := serviceOn("new", backendTo(backend4, dataplane.IPIP, loopback))
	for i := range added.VIPs {
		added.VIPs[i].Port = 81
	}
	larger.want(old, added)
	pinned := func() uint32 {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "maps", lbMapSlots), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		return m.MaxEntries() * slotsPerLine
	}
	if got := pinned(); got != 4096 {
		t.Errorf("before Attach the pinned map has %d slots, want the old 4096", got)
	}
	if _, err := larger.plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	if got := pinned(); got != 8192 {
		t.Errorf("after Attach the pinned map has %d slots, want the new 8192", got)
	}
	dropped["new"] = map[string]uint64{}
	larger.wantDropped(dropped)

	smaller := harnessOn(t, openTest(t, dir, 4096))
	if len(smaller.tables.Slots) != 8192 || len(smaller.tables.VIPs) != 8 {
		t.Errorf("larger maps than asked for are to be adopted, have %d slots and %d VIPs", len(smaller.tables.Slots), len(smaller.tables.VIPs))
	}
}

func TestPrivilegedEverySlotHasACondition(t *testing.T) {
	inNamespace(t)
	for _, slots := range []uint32{251, 4096, 65537} {
		plane := openTest(t, pinDir(t), slots)
		h := harnessOn(t, plane)
		all := uint32(len(h.tables.Slots))
		if all < slots || len(h.tables.Conditions) != len(dataplane.MakeConditions(int(all))) {
			t.Errorf("asked for %d, there are %d slots and %d words of conditions", slots, all, len(h.tables.Conditions))
			continue
		}
		h.tables.Phases = dataplane.NotePhases(h.tables)
		h.tables.Conditions.Put(all-1, dataplane.UDP, dataplane.Condition{Phase: dataplane.Learning})
		if steps := dataplane.Overwritten(h.tables, 0, all, 1); len(steps) != 1 {
			t.Errorf("what somebody wrote to the last of %d slots would be mended by %v", all, steps)
		}
	}
}

func TestPrivilegedAttachMakesItSoOnEveryInterface(t *testing.T) {
	inNamespace(t)
	dir := pinDir(t)
	plane := openTest(t, dir, 4096)

	attachments, err := plane.Attach([]string{"egress0", "lo", "absent0"})
	if err == nil || !strings.Contains(err.Error(), "absent0: there is no such interface") {
		t.Errorf("a missing interface gives %v", err)
	}
	if len(attachments) != 2 || attachments[0].Mode != "native" || attachments[1].Mode != "generic" || attachments[1].Reason == "" {
		t.Errorf("attachments are %+v, want egress0 native and lo generic with a reason", attachments)
	}

	if _, err := plane.Attach([]string{"egress1"}); err != nil {
		t.Fatal(err)
	}
	if attachedProgram(t, "lo") != 0 || attachedProgram(t, "egress0") != 0 || attachedProgram(t, "egress1") == 0 {
		t.Error("the program is not on egress1 alone")
	}
}

func TestPrivilegedAnInterfaceWithADotAndOneThatCameBackAreAttached(t *testing.T) {
	inNamespace(t)
	plane := openTest(t, pinDir(t), 4096)
	for range 2 {
		pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net.7"}, PeerName: "net.8"}
		if err := netlink.LinkAdd(pair); err != nil {
			t.Fatal(err)
		}
		if _, err := plane.Attach([]string{"net.7"}); err != nil {
			t.Fatal(err)
		}
		if attachedProgram(t, "net.7") == 0 {
			t.Error("no program on net.7")
		}
		if err := netlink.LinkDel(pair); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPrivilegedAnotherToolsProgramStaysAndIsNamed(t *testing.T) {
	inNamespace(t)
	other := openTest(t, pinDir(t)+"-other", 4096)
	t.Cleanup(func() { Detach(pinDir(t) + "-other") })
	egress, err := netlink.LinkByName("egress0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetXdpFd(egress, other.objects.PointsmanLb.FD()); err != nil {
		t.Fatal(err)
	}
	before := attachedProgram(t, "egress0")
	_, err = openTest(t, pinDir(t), 4096).Attach([]string{"egress0"})
	if err == nil || !strings.Contains(err.Error(), "ip link set dev egress0 xdp off") {
		t.Errorf("the error is %v, want one that says how to remove the other program", err)
	}
	if after := attachedProgram(t, "egress0"); after != before {
		t.Errorf("the other tool's program %d was replaced by %d", before, after)
	}
}

func TestPrivilegedDetachLeavesNothing(t *testing.T) {
	inNamespace(t)
	dir := pinDir(t)
	plane := openTest(t, dir, 4096)
	if _, err := plane.Attach([]string{"egress0"}); err != nil {
		t.Fatal(err)
	}
	removed, err := Detach(dir)
	if err != nil || len(removed) != 4 {
		t.Errorf("removed %v, %v; want the program on egress0, the maps, the pinned program and its maps", removed, err)
	}
	if attachedProgram(t, "egress0") != 0 {
		t.Error("the program is still attached, though a process holds its link")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if removed, err := Detach(dir); err != nil || len(removed) != 0 {
		t.Errorf("detaching again removes %v, %v", removed, err)
	}
}

func TestPrivilegedPinsOutsideABPFFileSystemAreRefused(t *testing.T) {
	needRoot(t)
	_, err := Open(Options{PinDir: filepath.Join(t.TempDir(), "pins"), Limits: testLimits, Slots: 4096})
	if err == nil || !strings.Contains(err.Error(), "mount -t bpf bpf /sys/fs/bpf") {
		t.Errorf("the error is %v, want one that says what to mount", err)
	}
}

// attachedProgram is the id of the XDP program on an interface, 0 if there is none.
func attachedProgram(t *testing.T, name string) uint32 {
	t.Helper()
	device, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if xdp := device.Attrs().Xdp; xdp != nil {
		return xdp.ProgId
	}
	return 0
}

func TestPrivilegedWhatIsDetachedOrUnpinnedIsFoundAndMended(t *testing.T) {
	for _, row := range []struct {
		promise string
		meddle  func(*testing.T, string, *DataPlane)
		found   string
	}{
		{"a link that is detached by force", func(t *testing.T, dir string, _ *DataPlane) {
			pinned, err := link.LoadPinnedLink(filepath.Join(dir, "links", "egress0"), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer pinned.Close()
			if err := pinned.Detach(); err != nil {
				t.Fatal(err)
			}
		}, "the program was detached from egress0"},
		{"another program on our link", func(t *testing.T, dir string, d *DataPlane) {
			if err := d.links["egress0"].Update(dirtyHeadroom(t, d.objects.PointsmanLb)); err != nil {
				t.Fatal(err)
			}
		}, "the program on egress0 was replaced by another"},
		{"an interface that came back", func(t *testing.T, dir string, _ *DataPlane) {
			pair, err := netlink.LinkByName("egress0")
			if err != nil {
				t.Fatal(err)
			}
			again := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "egress0", Index: 77}, PeerName: "egress1"}
			if err := errors.Join(netlink.LinkDel(pair), netlink.LinkAdd(again)); err != nil {
				t.Fatal(err)
			}
		}, "the program was detached from egress0"},
		{"a link's pin that is removed", unpin("links", "egress0"), "the pin of the link to egress0 was removed or replaced"},
		{"a map's", unpin("maps", lbMapVips), "the pin of the map vips was removed or replaced"},
		{"the program's", unpin("program"), "the pin of the program was removed or replaced"},
		{"all of them", unpin(), "the pin of the link to egress0 was removed or replaced"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			inNamespace(t)
			dir := pinDir(t)
			plane := openTest(t, dir, 4096)
			if _, err := plane.Attach([]string{"egress0"}); err != nil {
				t.Fatal(err)
			}
			if found := plane.Inspect(); len(found) > 0 {
				t.Fatalf("before anything was done: %v", found)
			}
			row.meddle(t, dir, plane)
			if found := plane.Inspect(); len(found) == 0 || found[0] != row.found {
				t.Errorf("found %v, want %q", found, row.found)
			}
			if _, err := plane.Attach([]string{"egress0"}); err != nil {
				t.Fatal(err)
			}
			if found := plane.Inspect(); len(found) > 0 || attachedProgram(t, "egress0") != uint32(idOf(plane.objects.PointsmanLb)) {
				t.Errorf("it was not mended: %v", found)
			}
		})
	}
}

// unpin removes a pin, or a folder of them.
func unpin(path ...string) func(*testing.T, string, *DataPlane) {
	return func(t *testing.T, dir string, _ *DataPlane) {
		if err := os.RemoveAll(filepath.Join(append([]string{dir}, path...)...)); err != nil {
			t.Fatal(err)
		}
	}
}
