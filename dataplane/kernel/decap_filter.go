package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Before Linux 6.6 tc has no links: a filter of the interface's clsact qdisc
// holds the program. Two empty folders beside the pins remember what is ours;
// they are made first, so that an interrupted run can be undone.
const decapFilterPriority = 0x706d // "pm": one that nobody else picks

// decapFilter is a program as a direct-action filter of one interface.
type decapFilter struct {
	dir     string
	ifindex int
	decapFilterKind
}

// decapFilterKind is what differs between the way in and the way out.
type decapFilterKind struct {
	name   string
	parent uint32
	handle uint32
	// filterMark and clsact are the names of the folders; both ways of one interface share clsact.
	filterMark, clsact string
}

var decapFilterIn = decapFilterKind{
	name: "pointsman_decap", parent: netlink.HANDLE_MIN_INGRESS, handle: 1, filterMark: "filter", clsact: "clsact",
}

func (f decapFilter) mode() string { return decapTC }

func (f decapFilter) close() {}

// swap replaces the filter under its priority and handle, which is atomic.
func (f decapFilter) swap(objs *decapObjects) error { return f.replace(objs.PointsmanDecapTc) }

func (f decapFilter) replace(program *ebpf.Program) error {
	if err := netlink.FilterReplace(f.filter(program.FD())); err != nil {
		return fmt.Errorf("replacing the filter: %w", err)
	}
	return nil
}

func (f decapFilter) filter(fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: f.ifindex,
			Parent:    f.parent,
			Handle:    f.handle,
			Priority:  decapFilterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           fd,
		Name:         f.name,
		DirectAction: true,
	}
}

func (f decapFilter) qdisc() *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: f.ifindex,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
}

func attachDecapFilter(dir string, ifindex int, objs *decapObjects) error {
	return decapFilter{dir, ifindex, decapFilterIn}.attach(objs.PointsmanDecapTc)
}

func (f decapFilter) attach(program *ebpf.Program) error {
	if err := f.addQdisc(); err != nil {
		return errors.Join(fmt.Errorf("adding a clsact qdisc: %w", err), f.remove())
	}
	if err := f.note(f.filterMark); err != nil {
		return errors.Join(err, f.remove())
	}
	if err := netlink.FilterAdd(f.filter(program.FD())); err != nil {
		return errors.Join(fmt.Errorf("adding the filter: %w", err), f.remove())
	}
	return nil
}

// addQdisc leaves alone one that is there already.
func (f decapFilter) addQdisc() error {
	present, err := f.findQdisc()
	if err != nil || present {
		return err
	}
	if err := f.note(f.clsact); err != nil {
		return err
	}
	return netlink.QdiscAdd(f.qdisc())
}

func (f decapFilter) findQdisc() (bool, error) {
	iface, err := netlink.LinkByIndex(f.ifindex)
	if err != nil {
		return false, err
	}
	qdiscs, err := netlink.QdiscList(iface)
	if err != nil {
		return false, err
	}
	for _, qdisc := range qdiscs {
		if qdisc.Attrs().Parent == netlink.HANDLE_CLSACT {
			return true, nil
		}
	}
	return false, nil
}

// findDecapFilter believes the mark and the filter together: without the
// filter, swap would have nothing to replace.
func findDecapFilter(dir string, ifindex int) (decapHook, error) {
	f := decapFilter{dir, ifindex, decapFilterIn}
	if found, err := f.find(); !found || err != nil {
		return nil, err
	}
	return f, nil
}

// find removes what is left of a filter that is gone.
func (f decapFilter) find() (bool, error) {
	if !f.marked(f.filterMark) && !f.marked(f.clsact) {
		return false, nil
	}
	if f.ifindex == 0 {
		return false, f.forget(f.filterMark, f.clsact)
	}
	ours, _, err := f.filters()
	if err != nil {
		return false, err
	}
	if !ours {
		return false, f.remove()
	}
	return true, nil
}

// filters tells whether our filter is on the interface, and how many others are.
func (f decapFilter) filters() (ours bool, others int, err error) {
	iface, err := netlink.LinkByIndex(f.ifindex)
	if err != nil {
		return false, 0, err
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(iface, parent)
		if err != nil {
			return false, 0, fmt.Errorf("listing filters: %w", err)
		}
		for _, filter := range filters {
			bpf, ok := filter.(*netlink.BpfFilter)
			if ok && bpf.Name == f.name && bpf.Parent == f.parent && bpf.Handle == f.handle {
				ours = true
			} else {
				others++
			}
		}
	}
	return ours, others, nil
}

// remove takes the filter off, and the qdisc if it is ours and nobody else
// uses it by now. The qdisc stays noted for as long as it is there: the other
// way's filter may be the last.
func (f decapFilter) remove() error {
	ours, others, err := f.filters()
	if err != nil {
		return err
	}
	if ours && f.marked(f.filterMark) {
		if err := netlink.FilterDel(f.filter(-1)); err != nil {
			return fmt.Errorf("removing the filter: %w", err)
		}
	}
	present, err := f.findQdisc()
	if err != nil {
		return err
	}
	if present && others > 0 {
		return f.forget(f.filterMark)
	}
	if present && f.marked(f.clsact) {
		if err := netlink.QdiscDel(f.qdisc()); err != nil {
			return fmt.Errorf("removing the clsact qdisc: %w", err)
		}
	}
	return f.forget(f.filterMark, f.clsact)
}

func (f decapFilter) note(name string) error {
	if err := os.Mkdir(filepath.Join(f.dir, name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("noting what is ours: %w", err)
	}
	return nil
}

func (f decapFilter) marked(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, name))
	return err == nil
}

func (f decapFilter) forget(names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
