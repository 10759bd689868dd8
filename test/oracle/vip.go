package oracle

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// FindVIP finds the most specific VIP of a packet: that of this address and
// port; else of the longest prefix that has the port, and there the port alone
// before the range, and the range before any port.
func (b *Balancer) FindVIP(to dataplane.VIP) (vip dataplane.VIP, found bool) {
	for _, vip := range b.vips {
		if vip.Covers(to) {
			return vip, true
		}
	}
	return dataplane.VIP{}, false
}

func (b *Balancer) findVIP(to dataplane.VIP) (dataplane.VIPEntry, bool) {
	vip, found := b.FindVIP(to)
	return b.Tables.VIPs[vip], found
}

// mostSpecificFirst sorts VIPs so that the first that covers a packet is its own.
// Ranges of one prefix have no port in common.
func mostSpecificFirst(vips map[dataplane.VIP]dataplane.VIPEntry) []dataplane.VIP {
	ports := func(vip dataplane.VIP) int {
		switch {
		case vip.HasAnyPort():
			return 2
		case vip.LastPort > 0:
			return 1
		}
		return 0
	}
	return slices.SortedFunc(maps.Keys(vips), func(a, b dataplane.VIP) int {
		return cmp.Or(
			cmp.Compare(a.HostBits, b.HostBits),
			cmp.Compare(ports(a), ports(b)),
			// The rest is for an order that is always the same.
			a.Addr.Compare(b.Addr), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol),
		)
	})
}

// isVIPAddress tells whether some VIP has an address. It is asked only where
// there are no ports to tell a VIP by.
func (b *Balancer) isVIPAddress(addr netip.Addr) bool {
	for _, vip := range b.vips {
		if vip.Addresses().Contains(addr) {
			return true
		}
	}
	return false
}
