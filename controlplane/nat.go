package controlplane

import (
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/dataplane"
)

// ingress are the interfaces where clients' packets arrive, by ifindex, attached or
// not yet: a daemon that starts must not take away by what answers leave.
func (d *daemon) ingress() (indexes []uint32) {
	for _, name := range d.loaded.file.Interfaces {
		indexes = append(indexes, d.ifindexes(name)...)
	}
	return indexes
}

// ifindexes are those of an interface of this host, and of the one below a VLAN,
// which sees its packets, too.
func ifindexes(name string) []uint32 {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil
	}
	indexes := []uint32{uint32(link.Attrs().Index)}
	if parent := link.Attrs().ParentIndex; link.Type() == "vlan" && parent != 0 {
		indexes = append(indexes, uint32(parent))
	}
	return indexes
}

// natWarnings say what in the file does not go with this host's sockets: an answer
// to one of them could be taken for a backend's.
func natWarnings(file *config.File) []string {
	if !slices.ContainsFunc(file.Services, func(s config.Service) bool { return s.Forward == "nat" }) {
		return nil
	}
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return []string{fmt.Sprintf("the range of ports of this host's sockets cannot be read: %v", err)}
	}
	if warning := overlapping(file.NAT.Ports, string(text)); warning != "" {
		return []string{warning}
	}
	return nil
}

// overlapping compares source ports with those of the host's sockets, "32768 60999".
func overlapping(ports config.PortRange, local string) string {
	var first, last uint16
	if _, err := fmt.Sscan(local, &first, &last); err != nil || ports.Last < first || last < ports.First {
		return ""
	}
	return fmt.Sprintf("nat_ports, %s, overlap the ports of this host's own sockets, %d-%d: set nat_ports to others, or sysctl net.ipv4.ip_local_port_range", ports, first, last)
}

// countConnections adds the connections of nat to what names backends, and says
// that the program need not look for answers any more where there are none and will
// be none.
func (d *daemon) countConnections(found *dataplane.Census, second uint32) (steps []dataplane.Step) {
	if !d.tables.SeesNAT {
		return nil
	}
	for index, n := range d.plane.ConnectionsByBackend(second) {
		found.Connections += n
		found.ByBackend[index] += n
	}
	for _, entry := range d.tables.VIPs {
		if entry.NAT {
			return nil
		}
	}
	if found.Connections > 0 {
		return nil
	}
	return []dataplane.Step{dataplane.SeeNAT{On: false}}
}
