package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"

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
// are attached all the same. What was attached or pinned before and is no more
// is so again.
func (d *DataPlane) Attach(interfaces []string) ([]dataplane.Attachment, error) {
	if d.promoted {
		if err := d.pins.prepareFolders(); err != nil { // somebody may have removed them
			return nil, err
		}
	}
	if err := d.stage(); err != nil {
		return nil, err
	}
	indexes := indexesOf(interfaces)
	var (
		attachments []dataplane.Attachment
		failures    = []error{d.giveRows(indexes)}
	)
	for _, name := range interfaces {
		if err := d.pins.step(); err != nil {
			return attachments, err
		}
		attachment, err := d.attach(name)
		if err != nil {
			failures = append(failures, fmt.Errorf("attaching to %s: %w", name, err))
			continue
		}
		attachments = append(attachments, attachment)
	}
	// Rows of interfaces that nothing comes by any more may be in the way of others'.
	failures = append(failures, d.detachExcept(interfaces), d.takeRowsBack(indexes), d.giveRows(indexes))
	if err := d.promote(); err != nil {
		return attachments, errors.Join(append(failures, err)...)
	}
	return attachments, errors.Join(append(failures, d.pinAgain())...)
}

// stage keeps new maps alive beside the old ones, which serve until every link
// has the new program.
func (d *DataPlane) stage() error {
	if d.promoted {
		return nil
	}
	if !d.staged {
		if err := d.pins.pinNext(d.maps()); err != nil {
			return err
		}
		// Before the first link has it: a start that finds the switch half done
		// tells by this pin which program is the new one.
		if err := pinProgram(d.objects.PointsmanLb, d.pins.nextProgram()); err != nil {
			return err
		}
		d.staged = true
	}
	if d.takeover == nil {
		return nil
	}
	if err := d.takeover.freeze(monotonicSecond()); err != nil {
		return fmt.Errorf("taking over flows and connections: %w", err)
	}
	return nil
}

// promote puts new maps in the old ones' place, once nobody uses those.
func (d *DataPlane) promote() error {
	if d.promoted {
		return nil
	}
	if d.takeover != nil {
		if err := d.takeover.finish(d.pins.step); err != nil {
			return fmt.Errorf("taking over what the old program learnt: %w", err)
		}
	}
	if err := d.pins.step(); err != nil {
		return err
	}
	if err := d.pins.promote(); err != nil {
		return err
	}
	d.promoted = true
	if d.takeover != nil {
		d.log.Info("the new program has taken over", "lost", cmp.Or(d.takeover.losses(), "nothing"))
		d.takeover.from.close()
		d.takeover = nil
	}
	return nil
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
	attached, err := d.attachNew(device.Index, link.XDPDriverMode)
	attachment.Mode = "native"
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return attachment, occupied(name, err)
	}
	if err != nil {
		attachment.Mode, attachment.Reason = "generic", whyGeneric(name, "the driver refuses native mode: "+err.Error())
		attached, err = d.attachNew(device.Index, link.XDPGenericMode)
	}
	if err != nil {
		return attachment, err
	}
	d.hold(name, attached)
	return attachment, d.pinLink(name)
}

func (d *DataPlane) attachNew(index int, mode link.XDPAttachFlags) (link.Link, error) {
	return link.AttachXDP(link.XDPOptions{Program: d.objects.PointsmanLb, Interface: index, Flags: mode})
}

// occupied says whose program is there, and how to be rid of it.
func occupied(name string, cause error) error {
	other := "another XDP program"
	if device, err := netlink.LinkByName(name); err == nil && device.Attrs().Xdp != nil {
		// Its name would take CAP_SYS_ADMIN.
		other = fmt.Sprintf("another XDP program, id %d,", device.Attrs().Xdp.ProgId)
	}
	return fmt.Errorf("%s is attached; remove it with `ip link set dev %s xdp off`, or end whatever put it there (`bpftool link` and `bpftool net` tell): %w", other, name, cause)
}

// hold keeps a link open in place of the one before.
func (d *DataPlane) hold(name string, held link.Link) {
	if before := d.links[name]; before != nil {
		before.Close()
	}
	d.links[name] = held
}

func (d *DataPlane) letGo(name string) {
	if held := d.links[name]; held != nil {
		held.Close()
	}
	delete(d.links, name)
}

// pinLink pins the link that is held, in place of whatever is there.
func (d *DataPlane) pinLink(name string) error {
	path := d.pins.link(name)
	if d.isPinned(name) {
		return nil
	}
	// Anew, since the one that is held may remember another place; and not by its
	// id, which would need CAP_SYS_ADMIN.
	again, err := duplicate(d.links[name])
	if err != nil {
		return fmt.Errorf("opening the link: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpinning what is at %s: %w", path, err)
	}
	if err := again.Pin(path); err != nil {
		again.Close()
		return fmt.Errorf("pinning the link: %w", err)
	}
	d.hold(name, again)
	return nil
}

// duplicate is another handle of a link, which remembers no pin.
func duplicate(held link.Link) (link.Link, error) {
	described, is := held.(interface{ FD() int })
	if !is {
		return nil, fmt.Errorf("a %T has no descriptor", held)
	}
	fd, err := unix.FcntlInt(uintptr(described.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return link.NewFromFD(fd)
}

// isPinned tells whether the link that is held is the one that is pinned.
func (d *DataPlane) isPinned(name string) bool {
	pinned, err := link.LoadPinnedLink(d.pins.link(name), nil)
	if err != nil {
		return false
	}
	defer pinned.Close()
	there, err := pinned.Info()
	if err != nil {
		return false
	}
	here, err := d.links[name].Info()
	return err == nil && here.ID == there.ID
}

// replace swaps the program of a link that there is already. A link whose
// interface is gone, or is another one of the same name, is let go of and
// reported as not there.
func (d *DataPlane) replace(name string, index uint32) (bool, error) {
	if d.links[name] == nil {
		pinned, err := link.LoadPinnedLink(d.pins.link(name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("opening the pinned link: %w", err)
		}
		d.hold(name, pinned)
	}
	info, err := d.links[name].Info()
	if err != nil {
		return false, fmt.Errorf("looking at the link: %w", err)
	}
	if xdp := info.XDP(); xdp == nil || xdp.Ifindex != index {
		// Detached rather than only let go: the kernel would do that later, and
		// another interface may have it under another name by now.
		if err := d.links[name].Detach(); err != nil && !isGone(err) {
			return false, fmt.Errorf("detaching from what was %s: %w", name, err)
		}
		d.letGo(name)
		if err := os.Remove(d.pins.link(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("unpinning the link of an interface that is gone: %w", err)
		}
		return false, nil
	}
	if err := d.links[name].Update(d.objects.PointsmanLb); err != nil {
		return false, fmt.Errorf("replacing the program: %w", err)
	}
	return true, d.pinLink(name)
}

// xdpMode asks the interface how its program runs.
func xdpMode(name string) (mode, reason string) {
	device, err := netlink.LinkByName(name)
	if err == nil && device.Attrs().Xdp != nil && device.Attrs().Xdp.AttachMode == nl.XDP_ATTACHED_DRV {
		return "native", ""
	}
	return "generic", whyGeneric(name, "the driver refused native mode when the program was first attached")
}
