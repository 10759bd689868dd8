package kernel

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pointsman/pointsman/dataplane"
)

func TestPrivilegedTheHashSpreadsFlowsEvenlyAndAlwaysAlike(t *testing.T) {
	h := newHarness(t)
	var backends []dataplane.Backend
	for i := range 4 {
		backends = append(backends, backendTo(netip.AddrFrom4([4]byte{203, 0, 113, byte(30 + i)}), dataplane.IPIP, loopback))
	}
	h.want(serviceOn("web", backends...))
	// Four standard deviations of 27, and 4 % for Maglev's own unevenness at 251 slots.
	flows, bound := 4000, 150
	if testing.Short() {
		flows, bound = 400, 40 // the same, of 9
	}
	for _, v6 := range []bool{false, true} {
		share := make(map[string]int)
		for client := range flows {
			f := flow{protocol: dataplane.TCP, v6: v6, client: uint16(1024 + client)}
			first, again := h.send(f.frame()), h.send(f.frame())
			if !bytes.Equal(first.frame, again.frame) {
				t.Fatalf("two packets of %+v went different ways", f)
			}
			for counter := range first.moved {
				share[counter]++
			}
		}
		for counter, n := range share {
			if off := n - flows/4; len(share) != 4 || max(off, -off) > bound {
				t.Errorf("IPv6 %v: %s got %d of %d flows, want about %d", v6, counter, n, flows, flows/4)
			}
		}
	}
}

// There are two slots, so what tells hundreds of flows apart cannot be the slot.
func TestPrivilegedTheEntropyOfOuterHeadersDoesNotFollowTheSlot(t *testing.T) {
	h := newHarness(t)
	for _, row := range []struct {
		name       string
		backend    dataplane.Backend
		flows      int
		likely     int // values that so many draws give: of 2^20 all, of 2^14 all but eight
		sourcePort bool
	}{
		{"the flow label of ipip", backendTo(backend6, dataplane.IPIP, loopback), 500, 498, false},
		{"the flow label of gue", backendTo(backend6, dataplane.GUE, loopback), 500, 498, false},
		{"the source port of gue over IPv4", backendTo(backend4, dataplane.GUE, loopback), 500, 470, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			service := serviceOn("web", row.backend)
			service.Slots = 2
			h.want(service)
			values := make(map[uint32]bool)
			for client := range row.flows {
				got := h.send(flow{protocol: dataplane.TCP, v6: true, client: uint16(2000 + client)}.frame())
				values[entropyOf(got.frame)] = true
				if row.sourcePort && binary.BigEndian.Uint16(got.frame[14+20:]) < 0xc000 {
					t.Fatal("the source port is not an ephemeral one")
				}
			}
			if len(values) < row.likely {
				t.Errorf("%d flows have %d values, want %d", row.flows, len(values), row.likely)
			}
		})
	}
}

// entropyOf reads what tells flows apart in a frame's outer headers: 20 bits of an
// IPv6 flow label, 14 of a UDP port over IPv4.
func entropyOf(frame []byte) uint32 {
	if binary.BigEndian.Uint16(frame[12:]) == 0x0800 {
		return uint32(binary.BigEndian.Uint16(frame[14+20:])) & 0x3fff
	}
	return binary.BigEndian.Uint32(frame[14:]) & 0xfffff
}
