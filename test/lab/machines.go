package lab

import (
	"fmt"
	"net/netip"
)

// Machine is a host of a network that somebody else describes; see Options.Machines.
type Machine struct {
	Name       string
	Interfaces []Interface
}

// Interface is a machine's place on a network. All who name the same are on it.
type Interface struct {
	Name    string
	Network string
	Address netip.Prefix
}

// connectMachines plugs each machine into the switches of its networks, and leaves it at
// that: who goes where is for those who make machines what they are.
func (l *Lab) connectMachines(machines []Machine) error {
	switches := map[string]*Host{}
	for _, m := range machines {
		h, err := l.addHost(m.Name)
		if err != nil {
			return err
		}
		for _, i := range m.Interfaces {
			to := switches[i.Network]
			if to == nil {
				if to, err = l.newSwitch(fmt.Sprintf("switch-%c", 'a'+len(switches))); err != nil {
					return err
				}
				switches[i.Network] = to
			}
			if err := h.plugIn(i.Name, to); err != nil {
				return err
			}
			if err := h.AddAddress(i.Name, i.Address); err != nil {
				return err
			}
			h.addrs = append(h.addrs, i.Address.Addr())
		}
		l.Machines = append(l.Machines, h)
	}
	return l.settleMachines(machines)
}

// settleMachines waits until the first machine of each network reaches all the others.
func (l *Lab) settleMachines(machines []Machine) error {
	first := map[string]*Host{}
	for n, m := range machines {
		for _, i := range m.Interfaces {
			if first[i.Network] == nil {
				first[i.Network] = l.Machines[n]
			}
			if err := first[i.Network].awaitReach(l.Machines[n], i.Address.Addr()); err != nil {
				return err
			}
		}
	}
	return nil
}
