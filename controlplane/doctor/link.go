package doctor

import (
	"fmt"
	"strings"
)

const (
	noInterface   Kind = "no-interface"
	downInterface Kind = "interface-down"
	otherProgram  Kind = "other-program"
	largeReceive  Kind = "lro"
	hardwareGRO   Kind = "gro-hw"
	fewQueues     Kind = "queues"
	generic       Kind = "generic-mode"
	hiddenTags    Kind = "vlan-offload"
)

var linkRules = []rule{
	{[]Kind{noInterface}, findNoInterface},
	{[]Kind{downInterface}, ofLinks(findDown)},
	{[]Kind{otherProgram}, ofLinks(findOtherProgram)},
	{[]Kind{largeReceive}, ofLinks(findLargeReceive)},
	{[]Kind{hardwareGRO}, ofLinks(findHardwareGRO)},
	{[]Kind{fewQueues}, ofLinks(findFewQueues)},
	{[]Kind{generic}, ofLinks(onBalancer(findGeneric))},
	{[]Kind{hiddenTags}, ofLinks(onBalancer(findHiddenTags))},
}

// linkRule says what is wrong with an interface where packets arrive, nil if nothing.
type linkRule func(f Facts, name string, link Link) *Finding

func ofLinks(find linkRule) func(Facts) []Finding {
	return func(f Facts) (found []Finding) {
		for _, name := range f.Interfaces {
			link, there := f.Links[name]
			if !there {
				continue
			}
			if finding := find(f, name, link); finding != nil {
				finding.About = name
				found = append(found, *finding)
			}
		}
		return found
	}
}

func onBalancer(find linkRule) linkRule {
	return func(f Facts, name string, link Link) *Finding {
		if f.Backend != nil {
			return nil
		}
		return find(f, name, link)
	}
}

func findNoInterface(f Facts) (found []Finding) {
	for _, name := range f.Interfaces {
		if _, there := f.Links[name]; !there {
			found = append(found, Finding{Failure, noInterface, name, "this host has no such interface", "ip -brief link",
				"it has " + strings.Join(byName(f.Links), ", ") + ": name one of these"})
		}
	}
	return found
}

func findDown(_ Facts, name string, link Link) *Finding {
	if link.Up {
		return nil
	}
	return &Finding{Level: Failure, Kind: downInterface, What: "it is down", Mend: "ip link set dev " + quote(name) + " up"}
}

func findOtherProgram(_ Facts, name string, link Link) *Finding {
	p := link.Program
	if p.ID == 0 || p.Ours || p.Unsure {
		return nil
	}
	finding := &Finding{Level: Failure, Kind: otherProgram,
		What: fmt.Sprintf("another XDP program is attached, id %d, in %s mode: it is left alone, and Pointsman's cannot be attached", p.ID, p.Mode)}
	switch {
	case p.Link != 0:
		finding.Mend = fmt.Sprintf("bpftool link detach id %d", p.Link)
		finding.Advice = "or end the process that holds its link"
	case p.Mode == "generic":
		finding.Mend = "ip link set dev " + quote(name) + " xdpgeneric off"
	default:
		finding.Mend = "ip link set dev " + quote(name) + " xdp off"
	}
	return finding
}

func findLargeReceive(_ Facts, name string, link Link) *Finding {
	if !link.Features["rx-lro"] {
		return nil
	}
	return &Finding{Level: Warning, Kind: largeReceive, What: "large receive offload is on: the card merges packets, and its driver then refuses native XDP", Mend: "ethtool -K " + quote(name) + " lro off"}
}

func findHardwareGRO(_ Facts, name string, link Link) *Finding {
	if !link.Features["rx-gro-hw"] || link.Program.Mode == "native" {
		return nil
	}
	return &Finding{Level: Warning, Kind: hardwareGRO, What: "the card or the hypervisor merges packets, and the driver then refuses native XDP", Mend: "ethtool -K " + quote(name) + " rx-gro-hw off"}
}

// findFewQueues knows what drivers want for sending from XDP: queues beside those
// that are in use.
func findFewQueues(f Facts, name string, link Link) *Finding {
	mend, what := "", ""
	switch c := link.Channels; {
	case isOf(link.Driver, "ena", "gve") && c.Combined > c.MostCombi/2 && c.MostCombi > 1:
		mend = fmt.Sprintf("ethtool -L %s combined %d", quote(name), c.MostCombi/2)
		what = fmt.Sprintf("%d of at most %d queues are in use, and %s takes an XDP program only where half of them are free", c.Combined, c.MostCombi, link.Driver)
	case link.Driver == "virtio_net" && c.Combined+f.CPUs > c.MostCombi && c.MostCombi > f.CPUs:
		mend = fmt.Sprintf("ethtool -L %s combined %d", quote(name), c.MostCombi-f.CPUs)
		what = fmt.Sprintf("%d of %d queues are in use, and XDP wants one more for each of %d CPUs to send without locks", c.Combined, c.MostCombi, f.CPUs)
	case link.Driver == "virtio_net" && c.MostCombi > 0 && c.MostCombi <= f.CPUs:
		mend = "ethtool -l " + quote(name)
		what = fmt.Sprintf("its queues are %d, and XDP wants one for each of %d CPUs to send without locks, beside those that receive: give the virtual machine %d", c.MostCombi, f.CPUs, 2*f.CPUs)
	case link.Kind == "veth" && c.RX < link.PeerSendsBy:
		mend = fmt.Sprintf("ethtool -L %s rx %d", quote(name), link.PeerSendsBy)
		what = fmt.Sprintf("its queues to receive are %d, and a veth takes an XDP program only where they are as many as its other end sends by, %d", c.RX, link.PeerSendsBy)
	}
	if mend == "" {
		return nil
	}
	return &Finding{Level: Warning, Kind: fewQueues, What: what, Mend: mend}
}

// mostNative is what one page takes beside XDP's headroom and the kernel's own data.
const mostNative = 3498

func findGeneric(f Facts, name string, link Link) *Finding {
	if link.Program.Mode != "generic" || !link.Program.Ours {
		return nil
	}
	finding := &Finding{Level: Warning, Kind: generic, What: "the program does not run in the driver: packets take a slower way",
		Mend: "systemctl stop pointsman && " + f.run("detach") + " && systemctl start pointsman"}
	switch {
	case findLargeReceive(f, name, link) != nil || findHardwareGRO(f, name, link) != nil || findFewQueues(f, name, link) != nil:
		finding.Advice = "after what else is said of " + name + " is mended; it interrupts flows"
	case link.Kind == "vlan":
		finding.Advice = "after the interface below the VLAN is named in interfaces; it interrupts flows"
	case link.Kind == "veth":
		finding.Advice = fmt.Sprintf("it tries again, and interrupts flows; before, see to it that the other end has the same MTU and sends by no more than %d queues. As long as it stays so, the other end must not merge packets: ethtool -K OTHER-END tso off gso off", link.Channels.RX)
	case link.MTU > mostNative:
		finding.Advice = fmt.Sprintf("it tries again, and interrupts flows; the MTU of %d may be too large for the driver: ip link set dev %s mtu %d", link.MTU, name, mostNative)
	default:
		finding.Advice = "it tries again, and interrupts flows; where the driver knows no XDP, another card helps"
		if link.Driver != "" {
			finding.Advice += " (this one's is " + link.Driver + ")"
		}
	}
	return finding
}

func findHiddenTags(_ Facts, name string, link Link) *Finding {
	if len(link.Above) == 0 || !link.Features["rx-vlan-hw-parse"] {
		return nil
	}
	return &Finding{Level: Warning, Kind: hiddenTags, What: "it takes tags out of frames of " + strings.Join(link.Above, ", ") + " before XDP sees them: answers of the balancer itself leave without",
		Mend: "ethtool -K " + quote(name) + " rxvlan off"}
}
