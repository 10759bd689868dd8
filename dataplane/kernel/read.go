package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// Tables reads back what the kernel holds. Its Slots, Conditions and Flows are
// the maps' own memory: void after Close, and stored to atomically or not at all.
func (d *DataPlane) Tables() (*dataplane.Tables, error) {
	t := &dataplane.Tables{
		Services:   make(map[uint32]dataplane.ServiceEntry),
		VIPs:       make(map[dataplane.VIP]dataplane.VIPEntry),
		Addresses:  make(map[netip.Addr]bool),
		Prefixes:   make(map[dataplane.Prefix]bool),
		SeesWide:   atomic.LoadUint32(&d.mapped.switches.Wide) != 0,
		SeesNAT:    atomic.LoadUint32(&d.mapped.switches.Nat) != 0,
		QUICIDs:    make(map[dataplane.QUICKey]uint32),
		Backends:   make(map[uint32]dataplane.BackendEntry),
		Egress:     make(map[uint32]bool),
		Slots:      d.mapped.slots,
		Conditions: d.mapped.conditions,
		Flows:      d.mapped.flows,
		Limits: dataplane.Limits{
			Services: d.objects.Services.MaxEntries(),
			VIPs:     d.objects.Vips.MaxEntries(),
			Backends: d.objects.Backends.MaxEntries(),
		},
	}
	err := errors.Join(
		each(d.objects.Nat, func(_ uint32, settings lbNatSettings) { t.NAT = decodeNAT(settings) }),
		each(d.objects.Services, func(id uint32, entry lbService) { t.Services[id] = decodeService(entry) }),
		each(d.objects.Vips, func(key lbVipKey, entry lbVip) {
			t.VIPs[decodeVIP(key)] = decodeVIPEntry(entry)
		}),
		each(d.objects.VipAddresses, func(key lbVipAddress, _ uint32) { t.Addresses[decodeAddress(key.Address)] = true }),
		each(d.objects.WidePrefixes, func(_ lbWidePrefixKey, prefix lbWidePrefix) { t.Prefixes[decodePrefix(prefix)] = true }),
		each(d.objects.WideVips, func(key lbWideVipKey, entry lbVip) {
			t.VIPs[decodeWideVIP(key)] = decodeVIPEntry(entry)
		}),
		each(d.objects.QuicIds, func(key lbQuicKey, index uint32) { t.QUICIDs[decodeQUICKey(key)] = index }),
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

// eachBackend visits the entries in use, those of dead backends among them, reading many with each system call.
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
			if entries[i] != (lbBackend{}) {
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
		Backends:    make(map[uint32]dataplane.BackendCounters),
		Outcomes:    make(map[string]uint64),
		Dropped:     make(map[uint32]map[string]uint64),
		ByInterface: make(map[uint32]map[string]uint64),
	}
	var failures []error
	read := func(m *ebpf.Map, number uint32) uint64 {
		sum, err := sumOfCPUs(m, number)
		failures = append(failures, err)
		return sum
	}
	for number, name := range d.outcomes {
		counters.Outcomes[name] = read(d.objects.Outcomes, uint32(number))
	}
	failures = append(failures, d.addRows(&counters))
	counters.Flows = dataplane.FlowCounters{
		Inserted: read(d.objects.FlowEvents, uint32(lbFlowEventFLOW_INSERTED)),
		Evicted:  read(d.objects.FlowEvents, uint32(lbFlowEventFLOW_EVICTED)),
		Refused:  read(d.objects.FlowEvents, uint32(lbFlowEventFLOW_REFUSED)),
	}
	failures = append(failures, d.eachBackend(func(index uint32, _ lbBackend) {
		var perCPU []lbBackendCount
		if err := d.objects.BackendCounters.Lookup(index, &perCPU); err != nil {
			failures = append(failures, fmt.Errorf("reading the counters of backend %d: %w", index, err))
		}
		var sum dataplane.BackendCounters
		for _, n := range perCPU {
			sum.Packets += n.Packets
			sum.Bytes += n.Bytes
			sum.NewFlows += n.NewFlows
		}
		counters.Backends[index] = sum
		counters.Outcomes[d.outcomes[lbOutcomeFORWARD]] += sum.Packets
	}))
	failures = append(failures, each(d.objects.Services, func(id uint32, _ lbService) {
		dropped, err := d.droppedOf(id)
		failures = append(failures, err)
		counters.Dropped[id] = dropped
	}))
	if d.takeover != nil {
		failures = append(failures, d.takeover.addTo(&counters))
	}
	return counters, errors.Join(failures...)
}

// droppedOf reads what went nowhere of one service.
func (d *DataPlane) droppedOf(service uint32) (map[string]uint64, error) {
	var perCPU []lbServiceDrops
	if err := d.objects.ServiceDrops.Lookup(service, &perCPU); err != nil {
		return nil, fmt.Errorf("reading the drops of service %d: %w", service, err)
	}
	dropped := make(map[string]uint64)
	for _, drops := range perCPU {
		for number, packets := range drops.Packets {
			if packets > 0 {
				dropped[d.outcomes[number]] += packets
			}
		}
	}
	return dropped, nil
}

// sumOfCPUs reads one counter of a per-CPU array.
func sumOfCPUs(m *ebpf.Map, number uint32) (sum uint64, err error) {
	var perCPU []uint64
	if err := m.Lookup(number, &perCPU); err != nil {
		return 0, fmt.Errorf("reading counter %d of %s: %w", number, m, err)
	}
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}
