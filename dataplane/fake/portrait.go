package fake

import (
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Portrait is what tables hold, a line a thing, without what is a matter of
// history: ids, indexes and places in arrays. Tables that forward alike look
// alike. What is not over yet has lines of its own; Restless finds them.
func Portrait(tables *dataplane.Tables) []string {
	lines := []string{fmt.Sprintf("egress %v", egress(tables))}
	for id, service := range tables.Services {
		lines = append(lines, fmt.Sprintf("service %s %d slots, built from %x", service.Name, service.SlotCount, service.Fingerprint))
		for index, backend := range tables.Backends {
			if backend.Service == id && !backend.Dead {
				lines = append(lines, fmt.Sprintf("backend of %s %s by %s %+v", service.Name, backend.ID, backend.Forward, backend.Hop))
			}
			if backend.Dead {
				lines = append(lines, fmt.Sprintf(restless+"index %d is buried", index))
			}
		}
	}
	for vip, entry := range tables.VIPs {
		service := tables.Services[entry.Service]
		lines = append(lines, lane(tables, vip, service)...)
		if entry.Unsettled {
			lines = append(lines, fmt.Sprintf(restless+"%s is marked", vip))
		}
		entry.Service, entry.FirstSlot = 0, 0
		lines = append(lines, fmt.Sprintf("vip %s of %s %+v", vip, service.Name, entry))
	}
	if slices.ContainsFunc(tables.Flows, func(flow uint64) bool { return flow != 0 }) {
		lines = append(lines, restless+"flows are remembered")
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

const restless = "not over: "

// Restless are the lines of a portrait about what time has yet to bring.
func Restless(portrait []string) (lines []string) {
	for _, line := range portrait {
		if len(line) > len(restless) && line[:len(restless)] == restless {
			lines = append(lines, line)
		}
	}
	return lines
}

// lane is the slots of a VIP. Slots are looked at only where a VIP leads:
// elsewhere the program does not look, and they are asked anew when one comes.
func lane(tables *dataplane.Tables, vip dataplane.VIP, service dataplane.ServiceEntry) (lines []string) {
	for slot := range service.SlotCount {
		owner := tables.Backends[tables.Slots[service.FirstSlot+slot]]
		lines = append(lines, fmt.Sprintf("slot %05d of %s %s", slot, vip, owner.ID))
		if c := tables.Conditions.At(service.FirstSlot+slot, vip.Protocol); c.Phase != dataplane.Settled {
			lines = append(lines, fmt.Sprintf(restless+"slot %05d of %s is %+v", slot, vip, c))
		}
	}
	return lines
}

func egress(tables *dataplane.Tables) (interfaces []uint32) {
	for index, used := range tables.Egress {
		if used {
			interfaces = append(interfaces, index)
		}
	}
	slices.Sort(interfaces)
	return interfaces
}

// Differences are the lines that only one of two portraits has.
func Differences(one, other []string) (lines []string) {
	only := func(mark string, a, b []string) {
		has := make(map[string]bool, len(b))
		for _, line := range b {
			has[line] = true
		}
		for _, line := range a {
			if !has[line] {
				lines = append(lines, mark+line)
			}
		}
	}
	only("- ", one, other)
	only("+ ", other, one)
	return lines
}
