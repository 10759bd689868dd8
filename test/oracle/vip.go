package oracle

import (
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// findVIP finds the most specific VIP of a packet: that of this address and
// port; else of the longest prefix that has the port, and there the port alone
// before the range, and the range before any port.
func (b *Balancer) findVIP(to dataplane.VIP) (dataplane.VIPEntry, bool) {
	if entry, known := b.Tables.VIPs[to]; known {
		return entry, true
	}
	var best dataplane.VIP
	found := false
	for vip := range b.Tables.VIPs {
		if vip.Covers(to) && (!found || isMoreSpecific(vip, best)) {
			best, found = vip, true
		}
	}
	return b.Tables.VIPs[best], found
}

func isMoreSpecific(vip, than dataplane.VIP) bool {
	if vip.HostBits != than.HostBits {
		return vip.HostBits < than.HostBits
	}
	first, last := vip.Ports()
	firstOther, lastOther := than.Ports()
	return last-first < lastOther-firstOther
}

// isVIPAddress tells whether some VIP has an address. It is asked only where
// there are no ports to tell a VIP by.
func (b *Balancer) isVIPAddress(addr netip.Addr) bool {
	for vip := range b.Tables.VIPs {
		if vip.Addresses().Contains(addr) {
			return true
		}
	}
	return false
}
