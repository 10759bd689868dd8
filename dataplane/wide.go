package dataplane

import (
	"cmp"
	"slices"
)

// The tables find the VIP of a packet by its longest prefixes, first of the
// address, then of the port, and a range of ports need not be one. So they hold
// blocks of it, each a wide VIP of its own: a power of two of ports, from a
// multiple of that on. A block of one port is still less than a VIP of that port:
// it has a LastPort.
//
// Nothing else has to be made flat: where a prefix has no VIP for a port, the
// program goes on to the next shorter one.

// flatten returns the state with blocks instead of ranges.
func flatten(want State) State {
	if !slices.ContainsFunc(want.Services, func(s Service) bool { return slices.ContainsFunc(s.VIPs, VIP.isRange) }) {
		return want
	}
	want.Services = slices.Clone(want.Services)
	for i := range want.Services {
		want.Services[i].VIPs = Blocks(want.Services[i].VIPs)
	}
	return want
}

func (v VIP) isRange() bool { return v.LastPort > 0 && !v.HasAnyPort() }

// Blocks are the VIPs as the tables hold them.
func Blocks(vips []VIP) []VIP {
	var all []VIP
	for _, vip := range vips {
		all = vip.appendBlocks(all)
	}
	return all
}

func (v VIP) appendBlocks(all []VIP) []VIP {
	if !v.isRange() || v.invalid() != "" { // Diff says what is wrong with it
		return append(all, v)
	}
	end := uint32(v.LastPort) + 1
	for first := uint32(v.Port); first < end; {
		size := uint32(1) << 15 // two halves are more specific than any port
		for first%size != 0 || first+size > end {
			size /= 2
		}
		v.Port, v.LastPort = uint16(first), uint16(first+size-1)
		all = append(all, v)
		first += size
	}
	return all
}

// Find returns the VIP in the tables that an exact VIP's packets are for, as the
// program finds it.
func (t *Tables) Find(exact VIP) (vip VIP, entry VIPEntry, found bool) {
	if entry, found = t.VIPs[exact]; found {
		return exact, entry, true
	}
	for hostBits := 0; t.SeesWide && hostBits <= exact.Addr.BitLen(); hostBits++ {
		vip = VIP{Protocol: exact.Protocol, Wide: Wide{HostBits: uint8(hostBits)}}
		prefix, _ := exact.Addr.Prefix(exact.Addr.BitLen() - hostBits)
		vip.Addr = prefix.Addr()
		if !t.Prefixes[vip.Prefix()] {
			continue
		}
		vip.Port = exact.Port
		if entry, found = t.VIPs[vip]; found && vip.IsWide() {
			return vip, entry, true
		}
		for size := uint32(1); size <= 1<<16; size *= 2 {
			vip.Port = exact.Port &^ uint16(size-1)
			vip.LastPort = vip.Port + uint16(size-1)
			if entry, found = t.VIPs[vip]; found && vip.IsWide() {
				return vip, entry, true
			}
		}
	}
	return VIP{}, VIPEntry{}, false
}

// prefixesOf are those of the wide VIPs.
func prefixesOf(vips map[VIP]VIPEntry) map[Prefix]bool {
	prefixes := make(map[Prefix]bool)
	for vip := range vips {
		if vip.IsWide() {
			prefixes[vip.Prefix()] = true
		}
	}
	return prefixes
}

func (d *difference) appendPrefixes(steps []Step, wanted map[Prefix]bool) []Step {
	if len(wanted) > 0 && !d.have.SeesWide {
		steps = append(steps, SeeWide{true})
	}
	for _, prefix := range sortedPrefixes(wanted) {
		if !d.have.Prefixes[prefix] {
			steps = append(steps, PutPrefix{prefix})
		}
	}
	return steps
}

func (d *difference) appendPrefixDeletions(steps []Step, wanted map[Prefix]bool) []Step {
	for _, prefix := range sortedPrefixes(d.have.Prefixes) {
		if !wanted[prefix] {
			steps = append(steps, DeletePrefix{prefix})
		}
	}
	if len(wanted) == 0 && d.have.SeesWide {
		steps = append(steps, SeeWide{false})
	}
	return steps
}

func sortedPrefixes(prefixes map[Prefix]bool) []Prefix {
	list := make([]Prefix, 0, len(prefixes))
	for prefix := range prefixes {
		list = append(list, prefix)
	}
	slices.SortFunc(list, func(a, b Prefix) int {
		return cmp.Or(a.Addresses.Compare(b.Addresses), cmp.Compare(a.Protocol, b.Protocol))
	})
	return list
}
