package dataplane

import (
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
	for i := range len(s.Name) {
		if s.Name[i] == 0 {
			return "its name has a zero byte"
		}
	}
	for _, vip := range s.VIPs {
		if !plain(vip.Addr) {
			return fmt.Sprintf("VIP %s is not a plain address", vip)
		}
	}
	seen := make(map[ID]struct{}, len(s.Backends))
	for i := range s.Backends {
		b := &s.Backends[i]
		if text := b.invalid(); text != "" {
			return fmt.Sprintf("backend %s %s", b.ID, text)
		}
		if _, twice := seen[b.ID]; twice {
			return fmt.Sprintf("backend %s is there twice", b.ID)
		}
		seen[b.ID] = struct{}{}
	}
	return ""
}

func (b *Backend) invalid() string {
	switch {
	case !plain(b.Addr):
		return "has no plain address"
	case b.Weight > MaxWeight:
		return fmt.Sprintf("has weight %d, and may have %d", b.Weight, MaxWeight)
	case b.Forward != IPIP && b.Forward != L2:
		return fmt.Sprintf("cannot be forwarded to by %s", b.Forward)
	case b.Hop.Interface == 0:
		return "has no egress interface"
	case b.Hop.Source.IsValid() && !plain(b.Hop.Source):
		return "has an outer source that is not a plain address"
	case b.Forward == IPIP && (!b.Hop.Source.IsValid() || b.Hop.Source.Is4() != b.Addr.Is4()):
		return "has no outer source of its own family"
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
