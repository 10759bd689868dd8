package decap

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Mapping says that an instance on this host, which answers for a VIP's port,
// listens on another.
type Mapping struct {
	VIP      netip.AddrPort
	Protocol dataplane.Protocol
	Local    uint16
	// Named maps only packets whose tunnel names Local, and else those whose
	// tunnel names none. IP in IP names none.
	Named bool
}

// Asked is the VIP that clients use.
func (m Mapping) Asked() dataplane.VIP {
	return dataplane.VIP{Addr: m.VIP.Addr(), Port: m.VIP.Port(), Protocol: m.Protocol}
}

func (m Mapping) String() string { return fmt.Sprintf("%s to port %d", m.Asked(), m.Local) }

// Compare orders mappings as people read them.
func (m Mapping) Compare(other Mapping) int {
	byName := 0
	if m.Named != other.Named {
		byName = -1
		if m.Named {
			byName = 1
		}
	}
	return cmp.Or(m.VIP.Compare(other.VIP), cmp.Compare(m.Protocol, other.Protocol), cmp.Compare(m.Local, other.Local), byName)
}

// Refusal is a mapping that cannot be, and why.
type Refusal struct {
	Mapping
	Reason string
}

// Unambiguous keeps the mappings that can be told from one another in both
// directions: which instance a packet is for, and which port of the VIP an answer
// goes out from. Of two that cannot, the first stays. taken are VIPs whose ports
// no instance may listen on: what was sent to those could not be told from what
// was mapped.
func Unambiguous(wanted []Mapping, taken []dataplane.VIP) (kept []Mapping, refused []Refusal) {
	inwards, outwards := map[Mapping]Mapping{}, map[Mapping]Mapping{}
	for _, m := range wanted {
		in, out := m, m
		if in.Local = 0; m.Named {
			in.Local = m.Local
		}
		out.VIP, out.Named = netip.AddrPortFrom(m.VIP.Addr(), 0), false
		reason := m.collision(taken)
		if first, twice := inwards[in]; reason == "" && twice && first.Local != m.Local {
			reason = fmt.Sprintf("port %d is an instance of it, too, and nothing in the tunnel tells them apart: with forward = \"gue\" it does", first.Local)
		}
		if first, twice := outwards[out]; reason == "" && twice && first.VIP != m.VIP {
			reason = fmt.Sprintf("%s is mapped there already, and answers from that port could be of either", first.Asked())
		}
		if reason != "" {
			refused = append(refused, Refusal{m, reason})
			continue
		}
		inwards[in], outwards[out] = m, m
		if !slices.Contains(kept, m) {
			kept = append(kept, m)
		}
	}
	return kept, refused
}

// collision says why the local port can be nobody's, or "".
func (m Mapping) collision(taken []dataplane.VIP) string {
	if m.Local == m.VIP.Port() || m.Local == 0 {
		return "there is nothing to map"
	}
	local := dataplane.VIP{Addr: m.VIP.Addr(), Port: m.Local, Protocol: m.Protocol}
	for _, vip := range taken {
		if vip.Covers(local) {
			return fmt.Sprintf("that is a port of %s, whose answers could not be told from its own", vip)
		}
	}
	return ""
}

// checkMappings refuses what the program cannot do, all that is wrong at once.
func checkMappings(o Options) (mistakes []error) {
	if len(o.Mappings) > 0 && o.NoProgram {
		mistakes = append(mistakes, errors.New("without the program nothing maps ports"))
	}
	var asked []dataplane.VIP
	for _, m := range o.Mappings {
		addr := m.VIP.Addr()
		if !slices.Contains(o.VIPs, netip.PrefixFrom(addr, addr.BitLen())) {
			mistakes = append(mistakes, fmt.Errorf("%s cannot be mapped: %s is not one of the VIPs", m.Asked(), addr))
		}
		asked = append(asked, m.Asked())
	}
	_, refused := Unambiguous(o.Mappings, asked)
	for _, r := range refused {
		mistakes = append(mistakes, fmt.Errorf("%s cannot be mapped to port %d: %s", r.Asked(), r.Local, r.Reason))
	}
	return mistakes
}
