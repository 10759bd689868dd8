package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Names of the pinned links.
const (
	decapXDPPin = "xdp_link"
	decapTCXPin = "tcx_link"
)

// decapLink is a pinned BPF link: XDP, or tcx where the kernel has it (6.6).
type decapLink struct {
	link.Link
	as string
}

func (l decapLink) mode() string { return l.as }

func (l decapLink) close() { _ = l.Close() }

func (l decapLink) swap(objs *decapObjects) error {
	if l.as == decapTC {
		return l.Update(objs.PointsmanDecapTc)
	}
	return l.Update(objs.PointsmanDecap)
}

func (l decapLink) remove() error {
	return errors.Join(l.Unpin(), l.Close())
}

func attachDecapXDP(mode, dir string, ifindex int, objs *decapObjects) error {
	flags := link.XDPDriverMode
	if mode == decapGeneric {
		flags = link.XDPGenericMode
	}
	attached, err := link.AttachXDP(link.XDPOptions{Program: objs.PointsmanDecap, Interface: ifindex, Flags: flags})
	if err != nil {
		return err
	}
	return pinDecapLink(attached, filepath.Join(dir, decapXDPPin))
}

// attachDecapTC prefers a link, which cannot be replaced by mistake, to a filter.
func attachDecapTC(dir string, ifindex int, objs *decapObjects) error {
	attached, err := link.AttachTCX(link.TCXOptions{Program: objs.PointsmanDecapTc, Interface: ifindex, Attach: ebpf.AttachTCXIngress})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return attachDecapFilter(dir, ifindex, objs)
	}
	if err != nil {
		return err
	}
	return pinDecapLink(attached, filepath.Join(dir, decapTCXPin))
}

func pinDecapLink(attached link.Link, path string) error {
	if err := attached.Pin(path); err != nil {
		return errors.Join(fmt.Errorf("pinning the link: %w", err), attached.Close())
	}
	return attached.Close()
}

func findDecapXDP(dir string, ifindex int) (decapHook, error) {
	found, err := loadDecapLink(filepath.Join(dir, decapXDPPin), func(info *link.Info) int {
		return int(info.XDP().Ifindex)
	}, ifindex)
	if found == nil || err != nil {
		return nil, err
	}
	mode, err := xdpModeOf(ifindex)
	if err != nil {
		return nil, errors.Join(err, found.Close())
	}
	return decapLink{found, mode}, nil
}

func findDecapTCX(dir string, ifindex int) (decapHook, error) {
	found, err := loadDecapLink(filepath.Join(dir, decapTCXPin), func(info *link.Info) int {
		return int(info.TCX().Ifindex)
	}, ifindex)
	if found == nil || err != nil {
		return nil, err
	}
	return decapLink{found, decapTC}, nil
}

// loadDecapLink removes a link of an interface that is gone; its name may since
// belong to another one.
func loadDecapLink(path string, ifindexOf func(*link.Info) int, ifindex int) (link.Link, error) {
	found, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := found.Info()
	if err != nil {
		return nil, errors.Join(err, found.Close())
	}
	if ifindex == 0 || ifindexOf(info) != ifindex {
		return nil, errors.Join(found.Unpin(), found.Close())
	}
	return found, nil
}

// xdpModeOf asks the interface, because a link does not know its mode.
func xdpModeOf(ifindex int) (string, error) {
	iface, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return "", fmt.Errorf("reading the XDP mode of interface %d: %w", ifindex, err)
	}
	if xdp := iface.Attrs().Xdp; xdp != nil && xdp.AttachMode == nl.XDP_ATTACHED_SKB {
		return decapGeneric, nil
	}
	return decapNative, nil
}
