package earlier

import (
	"errors"
	"fmt"
	"net"
	"os"

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
	return attachments, errors.Join(failures...)
}

// pinMaps keeps new maps alive beside the old ones, which serve until every
// link has the new program.
func (d *DataPlane) pinMaps() error {
	if d.promoted {
		return nil
	}
	maps := d.objects.lbMaps
	return d.pins.pinNext(map[string]*ebpf.Map{
		lbMapBackendCounters: maps.BackendCounters,
		lbMapBackends:        maps.Backends,
		lbMapConditions:      maps.Conditions,
		lbMapFlows:           maps.Flows,
		lbMapFlowEvents:      maps.FlowEvents,
		lbMapEgress:          maps.Egress,
		lbMapOutcomes:        maps.Outcomes,
		lbMapServices:        maps.Services,
		lbMapSlots:           maps.Slots,
		lbMapVips:            maps.Vips,
	})
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
		attachment.Mode, attachment.Reason = "generic", "the driver refuses native mode: "+err.Error()
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
	return "generic", "the driver refused native mode when the program was first attached"
}
