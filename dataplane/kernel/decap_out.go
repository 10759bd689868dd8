package kernel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Answers leave by interfaces of their own. Beside the pins of the interface that
// packets arrive on, each of them has a pinned link or the marks of a filter,
// under one of these names and its own.
const (
	decapOutPin    = "out_link_"
	decapOutFilter = "out_filter_"
	decapOutClsact = "out_clsact_"
)

// decapOut is the program of the way out on one interface.
type decapOut struct {
	dir     string
	iface   string
	ifindex int // 0 where the interface is gone
	filter  decapFilter
}

// newDecapOut takes the ifindex of the interface that packets arrive on for the
// filter's handle, because two of those may share one that answers leave by.
func newDecapOut(dir string, owner int, iface string) decapOut {
	o := decapOut{dir: dir, iface: iface}
	if found, err := net.InterfaceByName(iface); err == nil {
		o.ifindex = found.Index
	}
	kind := decapFilterKind{
		name: "pointsman_decap_out", parent: netlink.HANDLE_MIN_EGRESS, handle: 1 + uint32(owner),
		filterMark: decapOutFilter + pinName(iface), clsact: decapOutClsact + pinName(iface),
	}
	if o.ifindex == owner {
		kind.clsact = decapFilterIn.clsact
	}
	o.filter = decapFilter{dir, o.ifindex, kind}
	return o
}

func (o decapOut) pin() string { return filepath.Join(o.dir, decapOutPin+pinName(o.iface)) }

// findLink is nil where there is none, or where it was one of an interface that is gone.
func (o decapOut) findLink() (link.Link, error) {
	return loadDecapLink(o.pin(), func(info *link.Info) int { return int(info.TCX().Ifindex) }, o.ifindex)
}

// attach swaps the program where it is attached already.
func (o decapOut) attach(program *ebpf.Program) error {
	if o.ifindex == 0 {
		return errors.New("there is no such interface")
	}
	found, err := o.findLink()
	if err != nil {
		return err
	}
	if found != nil {
		return errors.Join(found.Update(program), found.Close())
	}
	there, err := o.filter.find()
	if err != nil {
		return err
	}
	if there {
		return o.filter.replace(program)
	}
	attached, err := link.AttachTCX(link.TCXOptions{Program: program, Interface: o.ifindex, Attach: ebpf.AttachTCXEgress})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return o.filter.attach(program)
	}
	if err != nil {
		return err
	}
	return pinDecapLink(attached, o.pin())
}

func (o decapOut) detach() error {
	found, err := o.findLink()
	if err != nil {
		return err
	}
	if found != nil {
		return errors.Join(found.Unpin(), found.Close())
	}
	if there, err := o.filter.find(); !there || err != nil {
		return err
	}
	return o.filter.remove()
}

func attachDecapOut(dir string, owner int, interfaces []string, objs *decapObjects) error {
	for _, iface := range interfaces {
		if err := newDecapOut(dir, owner, iface).attach(objs.PointsmanDecapOut); err != nil {
			return fmt.Errorf("attaching to %s, where answers leave: %w", iface, err)
		}
	}
	return nil
}

// detachDecapOut takes the program off all interfaces but these.
func detachDecapOut(dir string, owner int, keep []string) (removed []string, err error) {
	attached, err := decapOutInterfaces(dir)
	if err != nil {
		return nil, err
	}
	for _, iface := range attached {
		if slices.Contains(keep, iface) {
			continue
		}
		if err := newDecapOut(dir, owner, iface).detach(); err != nil {
			return removed, fmt.Errorf("detaching from %s, where answers leave: %w", iface, err)
		}
		removed = append(removed, "program of the way out on "+iface)
	}
	return removed, nil
}

// decapOutInterfaces are those that have a pin or a mark.
func decapOutInterfaces(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for programs of the way out: %w", err)
	}
	var interfaces []string
	for _, entry := range entries {
		for _, prefix := range []string{decapOutPin, decapOutFilter, decapOutClsact} {
			if name, is := strings.CutPrefix(entry.Name(), prefix); is {
				interfaces = append(interfaces, strings.ReplaceAll(name, ":", "."))
			}
		}
	}
	slices.Sort(interfaces)
	return slices.Compact(interfaces), nil
}
