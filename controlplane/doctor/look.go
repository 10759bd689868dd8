package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Look reads what the host is like. pinDir is where programs and maps are, or are
// to be, pinned.
func Look(pinDir string) (Host, error) {
	host := Host{CPUs: runtime.NumCPU(), Sysctls: map[string]string{}, BPF: fileSystem(pinDir), Distribution: distribution()}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		host.Release = unix.ByteSliceToString(name.Release[:])
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	host.BTF = err == nil
	for _, path := range []string{"net/ipv4/ip_local_port_range"} {
		host.read(path)
	}
	if host.Links, err = links(); err != nil {
		return Host{}, err
	}
	for name := range host.Links {
		for _, which := range []string{"rp_filter", "arp_ignore", "arp_announce"} {
			host.read("net/ipv4/conf/" + name + "/" + which)
		}
	}
	host.read("net/ipv4/conf/all/rp_filter")
	return host, nil
}

func (h Host) read(sysctl string) {
	if value, err := os.ReadFile(filepath.Join("/proc/sys", sysctl)); err == nil {
		h.Sysctls[sysctl] = strings.TrimSpace(string(value))
	}
}

// ReversePath is the reverse path filter of an interface that is in effect: the
// greater of its own and that of all.
func (h Host) ReversePath(iface string) int {
	return max(h.number("net/ipv4/conf/all/rp_filter"), h.number("net/ipv4/conf/"+iface+"/rp_filter"))
}

// usualBPF is where systemd mounts it.
const usualBPF = "/sys/fs/bpf"

// fileSystem looks at the nearest folder that there is.
func fileSystem(pinDir string) FileSystem {
	at := pinDir
	for {
		if _, err := os.Stat(at); err == nil || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	var stat unix.Statfs_t
	fs := FileSystem{At: at}
	if err := unix.Statfs(at, &stat); err == nil && stat.Type == unix.BPF_FS_MAGIC {
		fs.Mounted, fs.ReadOnly = true, stat.Flags&unix.ST_RDONLY != 0
	}
	if pinDir == usualBPF || strings.HasPrefix(pinDir, usualBPF+"/") {
		fs.At = usualBPF
	}
	return fs
}

func distribution() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	var ids []string
	for line := range strings.Lines(string(text)) {
		for _, key := range []string{"ID=", "ID_LIKE="} {
			if value, is := strings.CutPrefix(line, key); is {
				ids = append(ids, strings.Trim(strings.TrimSpace(value), `"`))
			}
		}
	}
	return strings.Join(ids, " ")
}

func links() (map[string]Link, error) {
	list, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing this host's interfaces: %w", err)
	}
	cards, err := openEthtool()
	if err != nil {
		return nil, err
	}
	defer cards.close()
	all, names := map[string]Link{}, map[int]string{}
	for _, found := range list {
		attrs := found.Attrs()
		names[attrs.Index] = attrs.Name
		link := Link{Up: attrs.RawFlags&unix.IFF_UP != 0, MTU: attrs.MTU, Program: programOn(attrs.Xdp)}
		if found.Type() != "device" {
			link.Kind = found.Type()
		}
		cards.look(attrs.Name, &link)
		if link.Kind == "veth" && attrs.NetNsID < 0 {
			if peer, err := netlink.LinkByIndex(attrs.ParentIndex); err == nil {
				link.PeerSendsBy = peer.Attrs().NumTxQueues
				if there := cards.channels(peer.Attrs().Name); there.TX > 0 {
					link.PeerSendsBy = there.TX
				}
			}
		}
		all[attrs.Name] = link
	}
	for _, found := range list {
		if below := names[found.Attrs().ParentIndex]; found.Type() == "vlan" && found.Attrs().NetNsID < 0 && below != "" {
			link := all[below]
			link.Above = append(link.Above, found.Attrs().Name)
			all[below] = link
		}
	}
	return all, addAddresses(all, names)
}

func programOn(xdp *netlink.LinkXdp) Program {
	if xdp == nil || !xdp.Attached {
		return Program{}
	}
	mode := "native"
	if xdp.AttachMode == nl.XDP_ATTACHED_SKB {
		mode = "generic"
	}
	return Program{ID: xdp.ProgId, Mode: mode}
}

func addAddresses(all map[string]Link, names map[int]string) error {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing this host's addresses: %w", err)
	}
	for _, address := range list {
		name := names[address.LinkIndex]
		if p, ok := prefixOf(address.IPNet); ok && name != "" {
			link := all[name]
			link.Prefixes = append(link.Prefixes, p)
			all[name] = link
		}
	}
	return nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}
