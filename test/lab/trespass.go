package lab

import (
	"fmt"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What another tool may do to the XDP program on an interface.

// Detach detaches a link by force, as `bpftool link detach pinned PATH` does.
func (p Pinned) Detach() error {
	attr := struct{ link uint32 }{uint32(p)}
	if _, err := bpf(unix.BPF_LINK_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("detaching the link: %w", err)
	}
	return nil
}

// Supplant puts a program into a link that passes everything.
func (p Pinned) Supplant() error {
	return withPass(func(program int) error {
		attr := struct{ link, program, flags, old uint32 }{link: uint32(p), program: uint32(program)}
		if _, err := bpf(unix.BPF_LINK_UPDATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
			return fmt.Errorf("replacing the link's program: %w", err)
		}
		return nil
	})
}

// AttachXDP puts a program on an interface that passes everything, as `ip link set dev
// IFACE xdp object FILE` does. It fails where there is one already.
func (h *Host) AttachXDP(iface string) error {
	return withPass(func(program int) error { return h.setXDP(iface, program, unix.XDP_FLAGS_UPDATE_IF_NOEXIST) })
}

// RemoveXDP is `ip link set dev IFACE xdp off`.
func (h *Host) RemoveXDP(iface string) error { return h.setXDP(iface, -1, 0) }

func (h *Host) setXDP(iface string, program, flags int) error {
	return h.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return fmt.Errorf("finding %s of %s: %w", iface, h.Name, err)
		}
		if err := netlink.LinkSetXdpFdWithFlags(link, program, flags); err != nil {
			return fmt.Errorf("setting the XDP program of %s of %s: %w", iface, h.Name, err)
		}
		return nil
	})
}

// withPass has a program that passes everything for the time of a call.
func withPass(use func(program int) error) error {
	program, err := loadPass()
	if err != nil {
		return err
	}
	defer unix.Close(program)
	return use(program)
}
