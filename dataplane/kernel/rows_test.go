package kernel

import (
	"maps"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/packet"
)

// wantByInterface looks at what is counted by interface, and that all of it is in the
// outcomes' sums, too.
func (h *harness) wantByInterface(when string, all map[string]uint64, want map[uint32]map[string]uint64) {
	h.t.Helper()
	counters, err := h.plane.Counters()
	if err != nil {
		h.t.Fatal(err)
	}
	if !maps.EqualFunc(counters.ByInterface, want, maps.Equal) {
		h.t.Errorf("%s: by interface came %v, want %v", when, counters.ByInterface, want)
	}
	for outcome, n := range all {
		if got := counters.Outcomes[outcome]; got != n {
			h.t.Errorf("%s: of all, %d came to %s, want %d", when, got, outcome, n)
		}
	}
}

// attachTo attaches to these, and to no others.
func (h *harness) attachTo(interfaces ...string) {
	h.t.Helper()
	if _, err := h.plane.Attach(interfaces); err != nil {
		h.t.Fatal(err)
	}
}

type sums = map[string]uint64

// The frames of a harness come by lo.
func TestPrivilegedAPacketThatIsNotForwardedIsCountedByItsInterface(t *testing.T) {
	inNamespace(t)
	dir := pinDir(t)
	h := harnessOn(t, openTest(t, dir, 4096))
	web := serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback))
	h.want(web)
	send := func(h *harness) {
		h.send(frame(ip4(), tcpTo(80, packet.SYN|0x01, 64)))
		h.send(flow{protocol: dataplane.TCP}.at(7).frame())
		h.send(flow{protocol: dataplane.TCP}.frame())
	}
	all := func(n uint64) sums { return sums{"DROP_BAD_FLAGS": n, "PASS_NOT_VIP": n, "FORWARD": n} }
	by := func(n uint64) map[uint32]map[string]uint64 {
		return map[uint32]map[string]uint64{loopback: {"DROP_BAD_FLAGS": n, "PASS_NOT_VIP": n}}
	}

	send(h)
	h.wantByInterface("attached to nothing", all(1), nil)
	h.attachTo("lo", "egress0")
	send(h)
	h.wantByInterface("attached", all(2), by(1))
	h.attachTo("egress0", "lo")
	send(h)
	h.wantByInterface("attached again", all(3), by(2))

	again := harnessOn(t, openTest(t, dir, 4096))
	again.wantByInterface("with adopted maps", all(3), by(2))
	larger := harnessOn(t, openTest(t, dir, 8192))
	larger.want(web)
	larger.wantByInterface("with maps that are being taken over", all(3), by(2))
	larger.attachTo("lo")
	larger.wantByInterface("with maps that were taken over", all(3), by(2))
	send(larger)
	larger.wantByInterface("by the new program", all(4), by(3))

	larger.attachTo("egress0")
	larger.wantByInterface("detached", all(4), nil)
	send(larger)
	larger.wantByInterface("nobody's", all(5), nil)
}

func TestPrivilegedWhatCameByAnInterfaceThatIsGoneIsTakenOver(t *testing.T) {
	inNamespace(t)
	dir := pinDir(t)
	first := harnessOn(t, openTest(t, dir, 4096))
	first.want()
	first.attachTo("lo")
	first.send(flow{protocol: dataplane.TCP}.at(7).frame())

	larger := harnessOn(t, openTest(t, dir, 8192))
	larger.want()
	larger.attachTo("egress0")
	larger.wantByInterface("taken over", sums{"PASS_NOT_VIP": 1}, nil)
}

func TestPrivilegedARowGoesToAnotherInterfaceOnceItsOwnIsDetached(t *testing.T) {
	inNamespace(t)
	const distant = 256 + loopback // the same row
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "distant", Index: distant}, PeerName: "peer"}); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t)
	h.want()
	for _, row := range []struct {
		interfaces []string
		owner      uint32
	}{
		{[]string{"lo"}, loopback},
		{[]string{"lo", "distant"}, loopback},
		{[]string{"distant"}, distant},
		{nil, 0},
	} {
		h.attachTo(row.interfaces...)
		if owner := h.plane.rows[loopback]; owner != row.owner {
			t.Errorf("attached to %v, the row is of interface %d", row.interfaces, owner)
		}
	}
}
