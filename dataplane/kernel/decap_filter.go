package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Before Linux 6.6 tc has no links: a filter of the interface's clsact qdisc
// holds the program. Two empty folders beside the pins remember what is ours;
// they are made first, so that an interrupted run can be undone.
const (
	decapFilterMark = "filter"
	decapClsactMark = "clsact"

	decapFilterName     = "pointsman_decap"
	decapFilterPriority = 0x706d // "pm": one that nobody else picks
)

// decapFilter is the program as a direct-action filter.
type decapFilter struct {
	dir     string
	ifindex int
}

func (f decapFilter) mode() string { return decapTC }

func (f decapFilter) close() {}

// swap replaces the filter under its priority and handle, which is atomic.
func (f decapFilter) swap(objs *decapObjects) error {
	if err := netlink.FilterReplace(f.filter(objs.PointsmanDecapTc.FD())); err != nil {
		return fmt.Errorf("replacing the filter: %w", err)
	}
	return nil
}

func (f decapFilter) filter(fd int) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: f.ifindex,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    1,
			Priority:  decapFilterPriority,
			Protocol:  unix.ETH_P_ALL,
		},
		Fd:           fd,
		Name:         decapFilterName,
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
	f := decapFilter{dir, ifindex}
	if err := f.addQdisc(); err != nil {
		return errors.Join(fmt.Errorf("adding a clsact qdisc: %w", err), f.remove())
	}
	if err := f.mark(decapFilterMark); err != nil {
		return errors.Join(err, f.remove())
	}
	if err := netlink.FilterAdd(f.filter(objs.PointsmanDecapTc.FD())); err != nil {
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
	if err := f.mark(decapClsactMark); err != nil {
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
	f := decapFilter{dir, ifindex}
	if !f.marked(decapFilterMark) && !f.marked(decapClsactMark) {
		return nil, nil
	}
	if ifindex == 0 {
		return nil, f.unmarkAll()
	}
	ours, _, err := f.filters()
	if err != nil {
		return nil, err
	}
	if !ours {
		return nil, f.remove()
	}
	return f, nil
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
			if bpf, ok := filter.(*netlink.BpfFilter); ok && bpf.Name == decapFilterName {
				ours = true
			} else {
				others++
			}
		}
	}
	return ours, others, nil
}

// remove takes the filter off, and the qdisc if it is ours and nobody else
// uses it by now.
func (f decapFilter) remove() error {
	ours, others, err := f.filters()
	if err != nil {
		return err
	}
	if ours && f.marked(decapFilterMark) {
		if err := netlink.FilterDel(f.filter(-1)); err != nil {
			return fmt.Errorf("removing the filter: %w", err)
		}
	}
	present, err := f.findQdisc()
	if err != nil {
		return err
	}
	if present && others == 0 && f.marked(decapClsactMark) {
		if err := netlink.QdiscDel(f.qdisc()); err != nil {
			return fmt.Errorf("removing the clsact qdisc: %w", err)
		}
	}
	return f.unmarkAll()
}

func (f decapFilter) mark(name string) error {
	if err := os.Mkdir(filepath.Join(f.dir, name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("noting what is ours: %w", err)
	}
	return nil
}

func (f decapFilter) marked(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, name))
	return err == nil
}

func (f decapFilter) unmarkAll() error {
	for _, name := range []string{decapFilterMark, decapClsactMark} {
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
