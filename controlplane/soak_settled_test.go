package controlplane

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/dataplane"
)

// settled is what the tables hold, without what is a matter of history: ids,
// indexes and places in arrays. What should be over by now is in it by name.
func (s *stage) settled() string {
	tables, err := s.plane.Tables()
	if err != nil {
		s.t.Fatal(err)
	}
	lines := []string{fmt.Sprintf("egress %v", keysOf(tables.Egress))}
	for id, entry := range tables.Services {
		lines = append(lines, fmt.Sprintf("service %s %d slots, built from %x", entry.Name, entry.SlotCount, entry.Fingerprint))
		for index, backend := range tables.Backends {
			if backend.Service == id && !backend.Dead {
				lines = append(lines, fmt.Sprintf("backend of %s %s by %s %+v", entry.Name, backend.ID, backend.Forward, backend.Hop))
			}
			if backend.Service == id && backend.Dead {
				lines = append(lines, fmt.Sprintf("index %d of %s is still buried", index, entry.Name))
			}
		}
	}
	for vip, entry := range tables.VIPs {
		service := tables.Services[entry.Service]
		name := service.Name
		entry.Service, entry.FirstSlot = 0, 0
		lines = append(lines, fmt.Sprintf("vip %s of %s %+v", vip, name, entry))
		lines = append(lines, unsettledOf(tables, service, vip.Protocol)...)
		for slot := range service.SlotCount {
			owner := tables.Backends[tables.Slots[service.FirstSlot+slot]]
			lines = append(lines, fmt.Sprintf("slot %05d of %s %s", slot, vip, owner.ID))
		}
	}
	for _, flow := range tables.Flows {
		if flow != 0 {
			lines = append(lines, "a flow is remembered")
		}
	}
	for name, standing := range s.daemon.published.Load().placed {
		lines = append(lines, fmt.Sprintf("placed %s %d", name, len(standing.backends)))
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), "\n")
}

// unsettledOf looks only where a VIP leads: elsewhere the program does not, and
// slots are asked anew when one comes.
func unsettledOf(tables *dataplane.Tables, entry dataplane.ServiceEntry, protocol dataplane.Protocol) (lines []string) {
	for slot := entry.FirstSlot; slot < entry.FirstSlot+entry.SlotCount; slot++ {
		if c := tables.Conditions.At(slot, protocol); c.Phase != dataplane.Settled {
			lines = append(lines, fmt.Sprintf("slot %d of %s is not settled: %+v", slot-entry.FirstSlot, entry.Name, c))
		}
	}
	return lines
}

// differences are the lines that only one of two texts has.
func differences(got, want string) string {
	var text strings.Builder
	only := func(mark, a, b string) {
		for _, line := range strings.Split(a, "\n") {
			if !slices.Contains(strings.Split(b, "\n"), line) {
				fmt.Fprintln(&text, mark, line)
			}
		}
	}
	only("after the day:        ", got, want)
	only("after a fresh start: ", want, got)
	return text.String()
}

func keysOf(set map[uint32]bool) (keys []uint32) {
	for key, in := range set {
		if in {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
