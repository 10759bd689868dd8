package kernel

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// whyGeneric says why the program does not run in the driver of an interface,
// and what to do where that helps. The cause is what the driver said.
func whyGeneric(name, cause string) string {
	device, err := netlink.LinkByName(name)
	if err != nil {
		return cause
	}
	switch device.(type) {
	case *netlink.Vlan:
		below, err := netlink.LinkByIndex(device.Attrs().ParentIndex)
		if err != nil || device.Attrs().NetNsID >= 0 {
			return "a VLAN has no native mode: attach to the interface below it"
		}
		return fmt.Sprintf("a VLAN has no native mode: attach to %s, which sees its packets with their tags", below.Attrs().Name)
	case *netlink.Bond:
		return cause + "; a bond needs Linux 5.15, mode active-backup, 802.3ad, balance-xor or balance-rr, and native mode and no program on each of its cards"
	}
	return cause
}
