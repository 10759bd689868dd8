package main

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/packet"
)

// iface is an interface of a host.
type iface struct {
	host  *lab.Host
	name  string
	index int
	mac   packet.MAC
}

func find(host *lab.Host, name string) (iface, error) {
	link, err := host.Links().LinkByName(name)
	if err != nil {
		return iface{}, fmt.Errorf("finding %s of %s: %w", name, host.Name, err)
	}
	return iface{host, name, link.Attrs().Index, packet.MAC(link.Attrs().HardwareAddr)}, nil
}

// attach attaches a program in the driver. It stays as long as the interface.
func (i iface) attach(program *ebpf.Program) error {
	err := i.host.Do(func() error {
		link, err := netlink.LinkByIndex(i.index)
		if err != nil {
			return err
		}
		return netlink.LinkSetXdpFdWithFlags(link, program.FD(), unix.XDP_FLAGS_DRV_MODE)
	})
	if err != nil {
		return fmt.Errorf("attaching a program to %s of %s: %w", i.name, i.host.Name, err)
	}
	return nil
}

// count lets what comes in be counted, and ended.
func (i iface) count(counter *ebpf.Program) error {
	// A clsact that is there belongs to the lab all the same.
	err := i.host.Links().QdiscReplace(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: i.index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
	if err == nil {
		err = i.host.Links().FilterReplace(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: i.index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
			},
			Fd: counter.FD(), Name: "live_count", DirectAction: true,
		})
	}
	if err != nil {
		return fmt.Errorf("counting what %s of %s gets: %w", i.name, i.host.Name, err)
	}
	return nil
}
