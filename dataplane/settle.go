package dataplane

import (
	"cmp"
	"slices"
)

// Settle returns the steps that time alone brings: slots go on to their next
// phase, and services of which all slots are settled are not looked at any more.
// The second is that of the monotonic clock which the program reads.
func Settle(have *Tables, second uint32) []Step {
	var steps []Step
	for _, table := range unsettledTables(have) {
		changes, settled := tick(have, table, second)
		if len(changes) > 0 {
			steps = append(steps, PutConditions{have.Services[table.entry.Service].Name, changes})
		}
		if !settled {
			continue
		}
		for _, vip := range table.vips {
			entry := have.VIPs[vip]
			entry.Unsettled = false
			steps = append(steps, PutVIP{vip, entry})
		}
	}
	return steps
}

// unsettledTable is the conditions of one service for one protocol.
type unsettledTable struct {
	protocol Protocol
	entry    VIPEntry
	vips     []VIP
}

func unsettledTables(have *Tables) []*unsettledTable {
	type key struct {
		service  uint32
		protocol Protocol
	}
	tables := make(map[key]*unsettledTable)
	for _, vip := range sortedVIPs(have.VIPs) {
		entry := have.VIPs[vip]
		if !entry.Unsettled {
			continue
		}
		at := key{entry.Service, vip.Protocol}
		if tables[at] == nil {
			tables[at] = &unsettledTable{protocol: vip.Protocol, entry: entry}
		}
		tables[at].vips = append(tables[at].vips, vip)
	}
	ordered := make([]*unsettledTable, 0, len(tables))
	for _, table := range tables {
		ordered = append(ordered, table)
	}
	slices.SortFunc(ordered, func(a, b *unsettledTable) int {
		return cmp.Or(cmp.Compare(a.entry.Service, b.entry.Service), cmp.Compare(a.protocol, b.protocol))
	})
	return ordered
}

// tick looks at each slot once, and tells whether all of them are settled.
func tick(have *Tables, table *unsettledTable, second uint32) (changes []SlotCondition, settled bool) {
	now := Moment{Second: second, IdleSeconds: table.entry.IdleSeconds}
	settled = true
	for slot := table.entry.FirstSlot; slot < table.entry.FirstSlot+table.entry.SlotCount; slot++ {
		held := have.Conditions.At(slot, table.protocol)
		next := held.Tick(now)
		if next != held {
			changes = append(changes, SlotCondition{slot, table.protocol, next})
		}
		settled = settled && next.Phase == Settled
	}
	return changes, settled
}

// Quarantine keeps the indexes of dead backends from being used again until no
// flow can name them. The zero value is ready.
type Quarantine struct{ quiet map[uint32]bool }

// Release returns the steps that free indexes which no flow has named in two
// sweeps of the flow table: after the first, a packet that had read its slot
// before the backend died could still have been remembered.
func (q *Quarantine) Release(have *Tables, census Census) []Step {
	var steps []Step
	quiet := make(map[uint32]bool)
	for index, entry := range have.Backends {
		if !entry.Dead || census.ByBackend[index] > 0 {
			continue
		}
		if q.quiet[index] {
			steps = append(steps, DeleteBackend{index})
		} else {
			quiet[index] = true
		}
	}
	slices.SortFunc(steps, func(a, b Step) int {
		return cmp.Compare(a.(DeleteBackend).Index, b.(DeleteBackend).Index)
	})
	q.quiet = quiet
	return steps
}
