package lab

import (
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Occupy puts a program that passes everything on an interface, as another tool
// would: in the driver or in generic mode, or in the driver by a link, which cannot be
// replaced. It is gone once leave is called.
func (h *Host) Occupy(iface, how string) (leave func() error, err error) {
	fd, err := loadPass()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	err = h.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		if how == "link" {
			leave, err = linkXDP(link.Attrs().Index, fd)
			return err
		}
		mode := map[string]int{"native": nl.XDP_FLAGS_DRV_MODE, "generic": nl.XDP_FLAGS_SKB_MODE}[how]
		leave = func() error {
			return h.Do(func() error { return netlink.LinkSetXdpFdWithFlags(link, -1, mode) })
		}
		return netlink.LinkSetXdpFdWithFlags(link, fd, mode)
	})
	if err != nil {
		return nil, fmt.Errorf("occupying %s of %s: %w", iface, h.Name, err)
	}
	return leave, nil
}

// linkXDP attaches a program by a link that ends with what it returns.
func linkXDP(index, program int) (detach func() error, err error) {
	// The beginning of union bpf_attr for BPF_LINK_CREATE, linux/bpf.h.
	attr := struct{ program, index, kind, flags uint32 }{
		uint32(program), uint32(index), unix.BPF_XDP, nl.XDP_FLAGS_DRV_MODE,
	}
	link, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return nil, fmt.Errorf("linking a program: %w", errno)
	}
	return func() error { return unix.Close(int(link)) }, nil
}
