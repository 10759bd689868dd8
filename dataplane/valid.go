package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/pointsman/pointsman/dataplane/maglev"
)

// invalid says why a service could not be written, or read back as it was
// written. Whoever wants it should have told the operator before: this is so
// that a mistake there costs one service and not the steps of all.
func (s *Service) invalid() string {
	switch {
	case s.Name == "" || len(s.Name) > MaxServiceName:
		return fmt.Sprintf("its name has %d bytes, and may have 1 to %d", len(s.Name), MaxServiceName)
	case s.Slots > maglev.MaxSlots || !maglev.IsPrime(int(s.Slots)):
		return fmt.Sprintf("its number of slots, %d, is not a prime up to %d", s.Slots, maglev.MaxSlots)
	}
	for _, idle := range []uint32{s.IdleTCP, s.IdleUDP} {
		if idle > MaxIdleSeconds {
			return fmt.Sprintf("its idle timeout is %d seconds, and may be %d", idle, MaxIdleSeconds)
		}
	}
	for i := range len(s.Name) {
		if s.Name[i] == 0 {
			return "its name has a zero byte"
		}
	}
	for _, vip := range s.VIPs {
		if text := vip.invalid(); text != "" {
			return fmt.Sprintf("VIP %s %s", vip, text)
		}
	}
	for i := range s.Backends {
		if text := s.Backends[i].invalid(); text != "" {
			return fmt.Sprintf("backend %s %s", s.Backends[i].ID, text)
		}
		if (s.Backends[i].Forward == NAT) != s.NAT {
			return fmt.Sprintf("backend %s is forwarded to by %s, and all of a service are by nat or none", s.Backends[i].ID, s.Backends[i].Forward)
		}
	}
	if id, twice := repeated(s.Backends); twice {
		return fmt.Sprintf("backend %s is there twice", id)
	}
	return s.invalidQUIC()
}

// repeated returns an ID that two backends have. It needs no memory if they are
// in order, as they mostly are.
func repeated(backends []Backend) (ID, bool) {
	ordered := true
	for i := 1; i < len(backends) && ordered; i++ {
		ordered = backends[i-1].ID.compare(backends[i].ID) < 0
	}
	if ordered {
		return ID{}, false
	}
	seen := make(map[ID]struct{}, len(backends))
	for i := range backends {
		if _, twice := seen[backends[i].ID]; twice {
			return backends[i].ID, true
		}
		seen[backends[i].ID] = struct{}{}
	}
	return ID{}, false
}

func (id ID) compare(other ID) int {
	return cmp.Or(id.Addr.Compare(other.Addr), cmp.Compare(id.Port, other.Port))
}

func (b *Backend) invalid() string {
	switch {
	case !plain(b.Addr):
		return "has no plain address"
	case b.Weight > MaxWeight:
		return fmt.Sprintf("has weight %d, and may have %d", b.Weight, MaxWeight)
	case b.Forward != L2 && !b.Forward.NeedsSource():
		return fmt.Sprintf("cannot be forwarded to by %s", b.Forward)
	case b.Hop.Interface == 0:
		return "has no egress interface"
	case b.Hop.VLAN[0] == 0 && b.Hop.VLAN[1] != 0:
		return "has an inner VLAN tag and no outer one"
	case b.Hop.Source.IsValid() && !plain(b.Hop.Source):
		return "has an outer source that is not a plain address"
	case b.Forward.NeedsSource() && (!b.Hop.Source.IsValid() || b.Hop.Source.Is4() != b.Addr.Is4()):
		return "has no outer source of its own family"
	case b.Forward == NAT && b.Port == 0:
		return "has no port, which nat needs to know"
	case b.Hop.MTU < b.overhead()+leastMTU:
		return fmt.Sprintf("has an MTU of %d, of which outer headers leave less than the %d that IPv4 needs", b.Hop.MTU, leastMTU)
	}
	return ""
}

// plain tells whether an address is the same when read back from 16 bytes.
func plain(addr netip.Addr) bool {
	return addr.IsValid() && !addr.Is4In6() && addr.Zone() == ""
}

// contested says which VIP a service cannot have, because the service of
// another number has it.
func contested(s *Service, owners map[VIP]int, number int) string {
	for _, vip := range s.VIPs {
		if owners[vip] != number {
			return fmt.Sprintf("VIP %s belongs to another service", vip)
		}
	}
	return ""
}
