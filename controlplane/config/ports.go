package config

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane"
)

// portMapping refuses what backends could not map: an answer from an instance's
// port must be of one port of the VIP alone.
func (d *decoder) portMapping(b *block, s Service) {
	if !s.PortMapping {
		return
	}
	if s.Forward != "ipip" && s.Forward != "gue" {
		d.report(b.At("port_mapping"), fmt.Sprintf("port_mapping%s, whose forward is %q", b.where(), s.Forward),
			"backends map ports as they take packets out of a tunnel: forward = \"ipip\" or \"gue\"")
	}
	for _, vip := range s.Listen {
		if !vip.single() || vip.HostBits > 0 {
			d.report(vip.Position, fmt.Sprintf("port_mapping%s, and VIP %s is not one address and one port", b.where(), vip),
				"nothing would tell which port an answer is of")
		} else if first := s.Listen[0]; vip.Port != first.Port && first.single() {
			d.report(vip.Position, fmt.Sprintf("port_mapping%s, and VIP %s is on another port than %s", b.where(), vip, first),
				"an instance has one port, and nothing would tell which of the VIPs' an answer is of: make two services")
		}
	}
}

// instance is what tells a backend from others: the host, and where tunnels name
// it also the port.
func (s Service) instance(b StaticBackend) netip.AddrPort {
	if s.changesPort() {
		return netip.AddrPortFrom(b.Addr, b.Port)
	}
	if !s.PortMapping || s.Forward != "gue" || len(s.Listen) == 0 {
		return netip.AddrPortFrom(b.Addr, 0)
	}
	return netip.AddrPortFrom(b.Addr, cmp.Or(b.Port, s.Listen[0].Port))
}

func (s Service) whyOnce() string {
	if s.PortMapping && s.Forward != "gue" {
		return "nothing in IP in IP tells instances of one host apart: forward = \"gue\" does"
	}
	return "a weight says how much it gets"
}

// guardPort refuses a backend on a port that its packets cannot be for.
func (d *decoder) guardPort(f *File, s Service, b StaticBackend) {
	who := fmt.Sprintf("backend %s of service %q", b, s.Name)
	if s.changesPort() {
		if b.Port == 0 && !s.onePort() {
			d.report(b.At(""), who+" has no port of its own, and the VIPs have several",
				fmt.Sprintf("forward = %q sends all of them to one port: backend %q {}", s.Forward, netip.AddrPortFrom(b.Addr, 8080)))
		}
		return
	}
	if b.Port != 0 && s.PortMapping {
		if vip, service, ok := f.usesPort(s, b.Port); !ok {
			d.report(b.At(""), who+" is on a port of another VIP",
				fmt.Sprintf("answers of %s of service %q, at %s, could not be told from its own", vip, service, vip.Position))
		}
		return
	}
	for _, vip := range s.Listen {
		if b.Port != 0 && !vip.HasPort(b.Port) {
			d.report(b.At(""), fmt.Sprintf("%s is on another port than VIP %s", who, vip),
				fmt.Sprintf("forward = %q does not change ports: leave out :%d, listen on it at %s, or set forward = \"nat\"", s.Forward, b.Port, vip.Position))
			return
		}
	}
}

// usesPort tells whether a backend may listen on a port, as far as the file
// shows. It may not where another service's VIP has it: backends could not tell
// what is for that from what they have mapped.
func (f *File) usesPort(s Service, port uint16) (taken Listen, service string, ok bool) {
	for _, vip := range s.Listen {
		local := dataplane.VIP{Addr: vip.Addr, Port: port, Protocol: vip.Protocol}
		for _, other := range f.Services {
			for _, theirs := range other.Listen {
				if theirs.Covers(local) && port != vip.Port {
					return theirs, other.Name, false
				}
			}
		}
	}
	return Listen{}, "", true
}
