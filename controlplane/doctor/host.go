package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	tooOld       Kind = "kernel"
	noBTF        Kind = "btf"
	noBPF        Kind = "bpffs"
	noRights     Kind = "capability"
	badConfig    Kind = "configuration"
	sharedPorts  Kind = "nat-ports"
	noSource     Kind = "nat-source"
	oldestKernel      = "5.15"
)

var hostRules = []rule{
	{[]Kind{tooOld}, findOldKernel},
	{[]Kind{noBTF}, findNoBTF},
	{[]Kind{noBPF}, findNoBPF},
	{[]Kind{noRights}, findNoRights},
	{[]Kind{badConfig}, findMistakes},
	{[]Kind{sharedPorts}, findSharedPorts},
	{[]Kind{noSource}, findNoSource},
}

func findOldKernel(f Facts) []Finding {
	var major, minor int
	if n, _ := fmt.Sscanf(f.Release, "%d.%d", &major, &minor); n < 2 || major > 5 || major == 5 && minor >= 15 {
		return nil
	}
	return []Finding{{Failure, tooOld, f.Release, "Linux is older than " + oldestKernel, f.newKernel(), ""}}
}

// newKernel gets the distribution's newest.
func (h Host) newKernel() string {
	for _, id := range strings.Fields(h.Distribution) {
		switch id {
		case "ubuntu":
			return "apt-get install linux-generic && reboot"
		case "debian":
			return "apt-get install linux-image-$(dpkg --print-architecture) && reboot"
		case "rhel", "fedora", "centos":
			return "dnf upgrade kernel && reboot"
		}
	}
	return "reboot"
}

func findNoBTF(f Facts) []Finding {
	if f.BTF {
		return nil
	}
	return []Finding{{Failure, noBTF, "/sys/kernel/btf/vmlinux", "the kernel does not tell its types", f.newKernel(),
		"boot a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are; in a container, mount /sys"}}
}

func findNoBPF(f Facts) []Finding {
	switch fs := f.BPF; {
	case !fs.Mounted:
		return []Finding{{Failure, noBPF, fs.At, "no BPF file system is mounted there: programs and maps could not outlive the daemon", "mount -t bpf bpf " + quote(fs.At), ""}}
	case fs.ReadOnly:
		return []Finding{{Failure, noBPF, fs.At, "the BPF file system is read-only", "mount -o remount,rw " + quote(fs.At), "in a systemd unit, ReadWritePaths= must name it"}}
	}
	return nil
}

func findNoRights(f Facts) []Finding {
	if len(f.Rights.Missing) == 0 {
		return nil
	}
	finding := Finding{Failure, noRights, strings.Join(f.Rights.Missing, ","), "this process lacks it, and so would a daemon that is started like it",
		fmt.Sprintf("setcap %s+ep %s", strings.ToLower(strings.Join(f.Rights.Needed, ",")), quote(f.Rights.Path)), "or run it as root"}
	if f.Rights.Bounded {
		finding.Mend = "systemctl show --property CapabilityBoundingSet pointsman"
		finding.Advice = "nothing that is started from here can have it: name " + strings.Join(f.Rights.Needed, ", ") +
			" in the unit's CapabilityBoundingSet=, or start the container with them (--cap-add)"
	}
	return []Finding{finding}
}

func findMistakes(f Facts) []Finding {
	if len(f.Config.Mistakes) == 0 {
		return nil
	}
	what := f.Config.Mistakes[0]
	if more := len(f.Config.Mistakes) - 1; more > 0 {
		what += fmt.Sprintf(", and %d more", more)
	}
	return []Finding{{Failure, badConfig, f.Config.Path, what, f.Program + " check " + quote(f.Config.Path), "it shows each mistake with what to do"}}
}

// leastSockets is how many ports a host is left with for its own connections.
const leastSockets = 1024

func findSharedPorts(f Facts) []Finding {
	const sysctl = "net.ipv4.ip_local_port_range"
	var first, last int
	if f.NAT == nil {
		return nil
	}
	if _, err := fmt.Sscan(f.Sysctls["net/ipv4/ip_local_port_range"], &first, &last); err != nil || last < int(f.NAT.First) || first > int(f.NAT.Last) {
		return nil
	}
	finding := Finding{Level: Warning, Kind: sharedPorts, About: sysctl,
		What: fmt.Sprintf("this host's own sockets take ports %d to %d, and nat_ports are %d-%d: an answer to one could be taken for a backend's", first, last, f.NAT.First, f.NAT.Last)}
	// The kernel wants the two ends of different parity, or says so in its log.
	above := int(f.NAT.Last) + 1
	if end := max(last, 60999); above+leastSockets <= end {
		finding.Mend = fmt.Sprintf("sysctl -w %s=%s", sysctl, quote(fmt.Sprintf("%d %d", above, end)))
		return []Finding{finding}
	}
	finding.Mend = fmt.Sprintf("sysctl -w %s='32768 60999'", sysctl)
	finding.Advice = `and set nat_ports = "1024-32767"`
	return []Finding{finding}
}

func findNoSource(f Facts) (found []Finding) {
	if f.NAT == nil {
		return nil
	}
	for _, source := range f.NAT.Sources {
		if f.hasAddress(source.String()) || len(f.Interfaces) == 0 {
			continue
		}
		found = append(found, Finding{Failure, noSource, source.String(), "it is in nat_sources, and no address of this host: answers of backends would not come here",
			fmt.Sprintf("ip address add %s/%d dev %s", source, source.BitLen(), f.Interfaces[0]), ""})
	}
	return found
}

func (h Host) hasAddress(address string) bool {
	for _, link := range h.Links {
		for _, p := range link.Prefixes {
			if p.Addr().WithZone("").String() == address {
				return true
			}
		}
	}
	return false
}

// number is a sysctl's, 0 where the host has none of that name.
func (h Host) number(path string) int {
	n, _ := strconv.Atoi(strings.TrimSpace(h.Sysctls[path]))
	return n
}

// isOf tells whether a driver is one of these.
func isOf(driver string, names ...string) bool { return slices.Contains(names, driver) }
