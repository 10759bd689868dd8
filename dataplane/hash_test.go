package dataplane_test

import (
	"net/netip"
	"testing"

	. "github.com/pointsman/pointsman/dataplane"
)

// What the program computes is held equal to this in dataplane/kernel.

var hashed = VIPEntry{FirstSlot: 100, SlotCount: 251}

func TestTheSlotsOfManyFlowsAreSpreadEvenly(t *testing.T) {
	for _, row := range []struct {
		promise string
		vip     VIP
		client  func(i int) netip.AddrPort
	}{
		{"clients of one address over their ports", vipNumber(0), func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(i))
		}},
		{"clients of one port over their IPv6 networks", vipNumber(1), func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 4: byte(i >> 8), 5: byte(i)}), 40000)
		}},
	} {
		t.Run(row.promise, func(t *testing.T) {
			hash := NewHash(7)
			counts := make(map[uint32]int)
			for i := range 1 << 16 {
				counts[hash.Slot(row.client(i), row.vip, hashed)]++
			}
			// 261 on average, with a standard deviation of 16.
			for slot := hashed.FirstSlot; slot < hashed.FirstSlot+hashed.SlotCount; slot++ {
				if n := counts[slot]; n < 170 || n > 360 {
					t.Errorf("slot %d has %d flows", slot, n)
				}
				delete(counts, slot)
			}
			if len(counts) > 0 {
				t.Errorf("slots of other services have flows: %v", counts)
			}
		})
	}
}

func TestWhatTheHashDependsOn(t *testing.T) {
	vip, client := vipNumber(0), netip.MustParseAddrPort("198.51.100.1:40000")
	otherPort := netip.MustParseAddrPort("198.51.100.1:40001")
	hash, other := NewHash(1), NewHash(2)
	if hash.Flow(client, vip) == other.Flow(client, vip) {
		t.Error("two secrets give the same hash")
	}
	if hash.Flow(client, vip) == hash.Flow(otherPort, vip) {
		t.Error("two ports of a client give the same hash")
	}
	byClient := hashed
	byClient.AffinityClient, byClient.SlotCount = true, 65537
	if hash.Slot(client, vip, byClient) != hash.Slot(otherPort, vip, byClient) {
		t.Error("two ports of a client have different slots, though the slot follows from the address")
	}
	if hash.Slot(client, vip, byClient) != hash.Slot(client, vipNumber(2), byClient) {
		t.Error("a client has different slots for two VIPs, though the slot follows from the address")
	}
}
