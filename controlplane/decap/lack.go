package decap

import "slices"

// Lack is what a host is to have for its VIPs and does not.
type Lack struct {
	Changes   []Change          // sysctls, addresses and routes, in the order in which to make them
	Loopback  bool              // lo is down
	NoIPv6    []string          // interfaces that need IPv6 and have it switched off
	Elsewhere map[string]string // the interface of each VIP that the host has, but not on lo
}

// Lacks looks at this host, whatever it is that On has done there. It changes nothing.
func Lacks(o Options) (Lack, error) { return lacks(o, linux{}) }

func lacks(o Options, h host) (Lack, error) {
	facts, err := h.look(sysctlsOf(o.Interface))
	if err != nil {
		return Lack{}, err
	}
	lack := Lack{Loopback: !facts.LoopbackUp, Elsewhere: map[string]string{}}
	facts.LoopbackUp = true
	for _, iface := range []string{o.Interface, loopback} {
		path := conf("ipv6", iface, "disable_ipv6")
		off := facts.Sysctls[path] != "0" && facts.Sysctls[path] != ""
		if off && slices.ContainsFunc(o.VIPs, isIPv6) {
			lack.NoIPv6 = append(lack.NoIPv6, iface)
			facts.Sysctls[path] = "0"
		}
	}
	for _, vip := range o.VIPs {
		held := facts.Addresses[vip.Addr()]
		if vip.IsSingleIP() && len(held) > 0 && !slices.Contains(held, loopback) {
			lack.Elsewhere[vip.Addr().String()] = held[0]
		}
	}
	if len(o.VIPs) == 0 || !slices.Contains(facts.Interfaces, o.Interface) {
		return lack, nil
	}
	o.NoProgram, o.Mappings = true, nil
	lack.Changes, _, err = Plan(facts, o)
	return lack, err
}
