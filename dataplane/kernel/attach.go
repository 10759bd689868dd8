package kernel

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// Attach makes the program see the packets of these interfaces and of no
// others. Where an earlier program of ours is attached, it is replaced without
// a gap. New maps become the pinned ones here, so the caller fills them before
// the first call. An interface that cannot be had is in the error; the others
// are attached all the same.
func (d *DataPlane) Attach(interfaces []string) ([]dataplane.Attachment, error) {
	if err := d.pinMaps(); err != nil {
		return nil, err
	}
	var (
		attachments []dataplane.Attachment
		failures    []error
	)
	for _, name := range interfaces {
		attachment, err := d.attach(name)
		if err != nil {
			failures = append(failures, fmt.Errorf("attaching to %s: %w", name, err))
			continue
		}
		attachments = append(attachments, attachment)
	}
	if !d.promoted {
		if err := d.pins.promote(); err != nil {
			return attachments, err
		}
		d.promoted = true
	}
	failures = append(failures, d.pins.detachExcept(interfaces))
	return attachments, errors.Join(failures...)
}

// pinMaps keeps new maps alive beside the old ones, which serve until every
// link has the new program.
func (d *DataPlane) pinMaps() error {
	if d.promoted {
		return nil
	}
	return d.pins.pinNext(d.tables())
}

// tables are all maps that outlive a process, by name. None can be forgotten: one
// that is not pinned would keep the next process from adopting the others.
func (d *DataPlane) tables() map[string]*ebpf.Map {
	tables := make(map[string]*ebpf.Map)
	maps := reflect.ValueOf(d.objects.lbMaps)
	for i := range maps.NumField() {
		if name := maps.Type().Field(i).Tag.Get("ebpf"); isTable(name) {
			tables[name] = maps.Field(i).Interface().(*ebpf.Map)
		}
	}
	return tables
}

func (d *DataPlane) attach(name string) (dataplane.Attachment, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return dataplane.Attachment{}, errors.New("there is no such interface; `ip link` lists those of this host")
	}
	attachment := dataplane.Attachment{Interface: name, Index: uint32(device.Index)}
	if replaced, err := d.replace(name, attachment.Index); err != nil || replaced {
		attachment.Mode, attachment.Reason = xdpMode(name)
		return attachment, err
	}

	attachment.Mode = "native"
	attached, err := d.attachNew(device.Index, link.XDPDriverMode)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return attachment, fmt.Errorf("another XDP program is attached; remove it with `ip link set dev %s xdp off`, or whatever put it there: %w", name, err)
	}
	if err != nil {
		attachment.Mode, attachment.Reason = "generic", whyGeneric(name, "the driver refuses native mode: "+err.Error())
		attached, err = d.attachNew(device.Index, link.XDPGenericMode)
	}
	if err != nil {
		return attachment, err
	}
	defer attached.Close()
	if err := attached.Pin(d.pins.link(name)); err != nil {
		return attachment, fmt.Errorf("pinning the link: %w", err)
	}
	return attachment, nil
}

func (d *DataPlane) attachNew(index int, mode link.XDPAttachFlags) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Program: d.objects.PointsmanLb, Interface: index, Flags: mode})
}

// replace swaps the program of a pinned link. A link whose interface is gone,
// or is another one of the same name, is unpinned and reported as not there.
func (d *DataPlane) replace(name string, index uint32) (bool, error) {
	pinned, err := link.LoadPinnedLink(d.pins.link(name), nil)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("opening the pinned link: %w", err)
	}
	defer pinned.Close()
	info, err := pinned.Info()
	if err != nil {
		return false, fmt.Errorf("looking at the pinned link: %w", err)
	}
	if xdp := info.XDP(); xdp == nil || xdp.Ifindex != index {
		return false, pinned.Unpin()
	}
	if err := pinned.Update(d.objects.PointsmanLb); err != nil {
		return false, fmt.Errorf("replacing the program: %w", err)
	}
	return true, nil
}

// xdpMode asks the interface how its program runs.
func xdpMode(name string) (mode, reason string) {
	device, err := netlink.LinkByName(name)
	if err == nil && device.Attrs().Xdp != nil && device.Attrs().Xdp.AttachMode == nl.XDP_ATTACHED_DRV {
		return "native", ""
	}
	return "generic", whyGeneric(name, "the driver refused native mode when the program was first attached")
}

// detachExcept takes the program off all interfaces but these.
func (p pins) detachExcept(keep []string) error {
	entries, err := os.ReadDir(p.links())
	if err != nil {
		return fmt.Errorf("listing the pinned links: %w", err)
	}
	kept := make(map[string]bool)
	for _, name := range keep {
		kept[p.link(name)] = true
	}
	var failures []error
	for _, entry := range entries {
		name := strings.ReplaceAll(entry.Name(), ":", ".")
		if !kept[p.link(name)] {
			failures = append(failures, p.detach(name))
		}
	}
	return errors.Join(failures...)
}

func (p pins) detach(name string) error {
	pinned, err := link.LoadPinnedLink(p.link(name), nil)
	if err != nil {
		return fmt.Errorf("opening the pinned link of %s: %w", name, err)
	}
	defer pinned.Close()
	// Detaching rather than only unpinning: a daemon may hold the link open.
	// An interface that is gone has taken its attachment along.
	if err := pinned.Detach(); err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("detaching from %s: %w", name, err)
	}
	return pinned.Unpin()
}

// Detach takes everything under pinDir off this host and says what it took.
// Nothing there is no error.
func Detach(pinDir string) ([]string, error) {
	p := pins{pinDir}
	var removed []string
	entries, err := os.ReadDir(p.links())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the pinned links: %w", err)
	}
	for _, entry := range entries {
		name := strings.ReplaceAll(entry.Name(), ":", ".")
		if err := p.detach(name); err != nil {
			return removed, err
		}
		removed = append(removed, "the program on "+name)
	}
	for _, dir := range []string{p.maps(), p.nextMaps()} {
		if _, err := os.Stat(dir); err == nil {
			removed = append(removed, "the maps in "+dir)
		}
		if err := removeAll(dir); err != nil {
			return removed, err
		}
	}
	if err := os.Remove(p.links()); err != nil {
		return removed, fmt.Errorf("removing %s: %w", p.links(), err)
	}
	// Left in place where a decapsulating program of this host lives beside us.
	if err := os.Remove(p.dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return removed, fmt.Errorf("removing %s: %w", p.dir, err)
	}
	return removed, nil
}
