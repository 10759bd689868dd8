package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// Tables reads back what the kernel holds. Its Slots are the map's own memory:
// void after Close, and stored to atomically or not at all.
func (d *DataPlane) Tables() (*dataplane.Tables, error) {
	t := &dataplane.Tables{
		Services: make(map[uint32]dataplane.ServiceEntry),
		VIPs:     make(map[dataplane.VIP]dataplane.VIPEntry),
		Backends: make(map[uint32]dataplane.BackendEntry),
		Egress:   make(map[uint32]bool),
		Slots:    d.slots,
		Limits: dataplane.Limits{
			Services: d.objects.Services.MaxEntries(),
			VIPs:     d.objects.Vips.MaxEntries(),
			Backends: d.objects.Backends.MaxEntries(),
		},
	}
	err := errors.Join(
		each(d.objects.Services, func(id uint32, entry lbService) { t.Services[id] = decodeService(entry) }),
		each(d.objects.Vips, func(key lbVipKey, entry lbVip) {
			t.VIPs[decodeVIP(key)] = dataplane.VIPEntry{
				Service: entry.Service, FirstSlot: entry.FirstSlot, SlotCount: entry.SlotCount,
			}
		}),
		each(d.objects.Egress, func(key, _ uint32) { t.Egress[key] = true }),
		d.eachBackend(func(index uint32, entry lbBackend) { t.Backends[index] = decodeBackend(entry) }),
	)
	return t, err
}

func each[Key, Value any](m *ebpf.Map, visit func(Key, Value)) error {
	var (
		key   Key
		value Value
	)
	entries := m.Iterate()
	for entries.Next(&key, &value) {
		visit(key, value)
	}
	if err := entries.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", m, err)
	}
	return nil
}

// eachBackend visits the entries in use, reading many with each system call.
func (d *DataPlane) eachBackend(visit func(uint32, lbBackend)) error {
	const batch = 4096
	var (
		cursor  ebpf.MapBatchCursor
		indexes = make([]uint32, batch)
		entries = make([]lbBackend, batch)
	)
	for {
		n, err := d.objects.Backends.BatchLookup(&cursor, indexes, entries, nil)
		for i := range n {
			if entries[i].Ifindex != 0 {
				visit(indexes[i], entries[i])
			}
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", d.objects.Backends, err)
		}
	}
}

// Counters reads what the program has counted since the maps were made.
func (d *DataPlane) Counters() (dataplane.Counters, error) {
	counters := dataplane.Counters{
		Backends: make(map[uint32]dataplane.BackendCounters),
		Outcomes: make(map[string]uint64),
	}
	for number, name := range d.outcomes {
		if lbOutcome(number) == lbOutcomeFORWARD {
			continue // counted with the backends
		}
		var perCPU []uint64
		if err := d.objects.Outcomes.Lookup(uint32(number), &perCPU); err != nil {
			return counters, fmt.Errorf("reading the counter of %s: %w", name, err)
		}
		for _, n := range perCPU {
			counters.Outcomes[name] += n
		}
	}
	err := d.eachBackend(func(index uint32, _ lbBackend) {
		var perCPU []lbBackendCount
		if d.objects.BackendCounters.Lookup(index, &perCPU) != nil {
			return // the index is inside the map: the lookup cannot miss
		}
		var sum dataplane.BackendCounters
		for _, n := range perCPU {
			sum.Packets += n.Packets
			sum.Bytes += n.Bytes
			sum.NewFlows += n.NewFlows
		}
		counters.Backends[index] = sum
	})
	return counters, err
}
