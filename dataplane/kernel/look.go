package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// ProgramsOn are the ids of the XDP programs that the balancer or decap has pinned
// for an interface under pinDir; none where nothing is.
func ProgramsOn(pinDir, iface string) ([]uint32, error) {
	var ids []uint32
	for _, pin := range []string{pins{dir: pinDir}.link(iface), filepath.Join(decapDir(pinDir, iface), decapXDPPin)} {
		pinned, err := link.LoadPinnedLink(pin, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("opening the pinned link of %s: %w", iface, err)
		}
		info, err := pinned.Info()
		pinned.Close()
		if err != nil {
			return nil, fmt.Errorf("looking at the link of %s: %w", iface, err)
		}
		ids = append(ids, uint32(info.Program))
	}
	return ids, nil
}

// LinkOf is the id of the link that holds an XDP program on an interface, 0 where
// none does. Only for who has all rights: it opens links by their ids.
func LinkOf(program uint32) uint32 {
	var it link.Iterator
	defer it.Close()
	for it.Next() {
		if info, err := it.Link.Info(); err == nil && uint32(info.Program) == program {
			return uint32(it.ID)
		}
	}
	return 0
}

// DecapAttached is how the decapsulating program is attached to an interface, ""
// where it is not. It takes away nothing, as OpenDecap does with what is of no use.
func DecapAttached(pinDir, iface string) (mode string, err error) {
	device, err := net.InterfaceByName(iface)
	if err != nil {
		return "", fmt.Errorf("looking up interface %s: %w", iface, err)
	}
	dir := decapDir(pinDir, iface)
	for _, pin := range []string{decapXDPPin, decapTCXPin} {
		there, err := holds(filepath.Join(dir, pin), uint32(device.Index))
		switch {
		case err != nil:
			return "", fmt.Errorf("looking at the link of %s: %w", iface, err)
		case there && pin == decapTCXPin:
			return decapTC, nil
		case there:
			return xdpModeOf(device.Index)
		}
	}
	filter := decapFilter{dir, device.Index, decapFilterIn}
	if ours, _, err := filter.filters(); err == nil && ours {
		return decapTC, nil
	}
	return "", nil
}

// holds tells whether a link is pinned there that holds a program on an interface.
func holds(pin string, ifindex uint32) (bool, error) {
	pinned, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		return false, err
	}
	if xdp := info.XDP(); xdp != nil {
		return xdp.Ifindex == ifindex, nil
	}
	tcx := info.TCX()
	return tcx != nil && tcx.Ifindex == ifindex, nil
}

// DecapFrom are the prefixes of balancers that the program on an interface takes
// packets from.
func DecapFrom(pinDir, iface string) ([]netip.Prefix, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(decapDir(pinDir, iface), decapMapDecapSources), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("opening the sources of %s: %w", iface, err)
	}
	defer m.Close()
	var (
		from  []netip.Prefix
		key   decapDecapPrefix
		value uint8
	)
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		bits := int(key.PrefixLength) - 32
		if key.V6 == 0 {
			bits -= 96
		}
		from = append(from, netip.PrefixFrom(decodeAddress(lbAddress{Word: key.Address.Word}), bits))
	}
	if err := entries.Err(); err != nil {
		return nil, fmt.Errorf("reading the sources of %s: %w", iface, err)
	}
	slices.SortFunc(from, netip.Prefix.Compare)
	return slices.Compact(from), nil
}
