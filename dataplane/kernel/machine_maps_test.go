package kernel

import (
	"encoding/binary"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/pointsman/pointsman/dataplane"
)

// memoryMap is a map of the machine. A hash has a region for each value.
type memoryMap struct {
	name    string
	number  uint64 // what the program holds of it
	key     int
	value   int
	entries uint32
	values  uint64            // the address of an array's
	hash    map[string]uint64 // the address of each value; nil for an array
}

func (m *machine) addMap(spec *ebpf.MapSpec) {
	held := &memoryMap{
		name: spec.Name, number: uint64(len(m.maps)+1) << 48,
		key: int(spec.KeySize), value: (int(spec.ValueSize) + 7) &^ 7, entries: spec.MaxEntries,
	}
	switch spec.Type {
	case ebpf.Array, ebpf.PerCPUArray:
		held.values = m.grow(held.value*int(held.entries), spec.Name)
	case ebpf.Hash, ebpf.LRUHash, ebpf.DevMapHash:
		held.hash = make(map[string]uint64)
	}
	m.maps[spec.Name], m.numbers[held.number] = held, spec.Name
}

// put writes a value of an array, or an entry of a hash.
func (m *machine) put(name string, key, value any) {
	held := m.maps[name]
	keyBytes, valueBytes := flat(key), flat(value)
	if held.hash == nil {
		at := held.values + uint64(held.value)*uint64(binary.LittleEndian.Uint32(keyBytes))
		copy(m.memory(at, len(valueBytes)), valueBytes)
		return
	}
	at := m.grow(held.value, name)
	copy(m.memory(at, len(valueBytes)), valueBytes)
	held.hash[string(keyBytes)] = at
}

func flat(value any) []byte {
	bytes, err := binary.Append(nil, binary.LittleEndian, value)
	if err != nil {
		panic(err) // it is of no fixed size
	}
	return bytes
}

// memory is what an address leads to. A wrong one is a mistake of the machine,
// since the verifier has seen the program.
func (m *machine) memory(at uint64, size int) []byte {
	number, offset := at>>32, int(uint32(at))
	if number == 0 || number >= uint64(len(m.regions)) || offset+size > len(m.regions[number].bytes) {
		m.refuse("there is no memory at %#x", at)
	}
	r := m.regions[number]
	if r.of != "" {
		lines := m.cost.lines[r.of]
		if lines == nil {
			lines = make(map[uint64]bool)
			if m.cost.lines != nil {
				m.cost.lines[r.of] = lines
			}
		}
		lines[at/cacheLine] = true
	}
	return r.bytes[offset : offset+size]
}

// Of the context the kernel makes loads of pointers from those of 32 bits.
func (m *machine) load(at uint64, size int) uint64 {
	if at>>32 == contextRegion {
		switch uint32(at) {
		case 0:
			return m.dataAt()
		case 4:
			return m.dataAt()&^0xffffffff + uint64(len(m.packet.bytes))
		case 12:
			return uint64(m.ingress)
		}
		m.refuse("no field of the context is at %d", uint32(at))
	}
	var number [8]byte
	copy(number[:], m.memory(at, size))
	return binary.LittleEndian.Uint64(number[:])
}

func (m *machine) store(at, value uint64, size int) {
	copy(m.memory(at, size), binary.LittleEndian.AppendUint64(nil, value)[:size])
}

// help is what the kernel does for the program.
func (m *machine) help(helper asm.BuiltinFunc) uint64 {
	note := func(of string) { m.cost.calls = append(m.cost.calls, of) }
	switch helper {
	case asm.FnMapLookupElem:
		held := m.maps[m.numbers[m.reg[1]]]
		note(held.name)
		return held.lookup(m)
	case asm.FnXdpAdjustHead:
		note("adjust_head")
		moved := m.dataAt() + uint64(int64(int32(m.reg[2])))
		if moved>>32 != m.dataAt()>>32 {
			return ^uint64(0)
		}
		binary.LittleEndian.PutUint64(m.regions[contextRegion].bytes, moved)
		return 0
	case asm.FnKtimeGetCoarseNs:
		note("clock")
		return m.ns
	case asm.FnRedirectMap:
		held := m.maps[m.numbers[m.reg[1]]]
		note(held.name)
		if held.hash[string(flat(uint32(m.reg[2])))] == 0 {
			return m.reg[3] & 7
		}
		return xdpRedirect
	}
	m.refuse("helper %v is not known", helper)
	return 0
}

func (held *memoryMap) lookup(m *machine) uint64 {
	key := m.memory(m.reg[2], held.key)
	if held.hash != nil {
		return held.hash[string(key)]
	}
	index := binary.LittleEndian.Uint32(key)
	if index >= held.entries || held.values == 0 {
		return 0
	}
	return held.values + uint64(held.value)*uint64(index)
}

// shippedMachine has the shipped program, and maps that hold the services.
func shippedMachine(t testing.TB, services ...dataplane.Service) *machine {
	t.Helper()
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Secret: 42, Limits: testLimits, Slots: 4096, Flows: 4096}
	size(spec, options)
	m := newMachine(spec.Programs[lbProgPointsmanLb].Instructions)
	m.ingress = loopback
	for _, of := range spec.Maps {
		m.addMap(of)
	}
	if err := spec.Variables[lbVarConfig].Set(settings(options, spec, 0)); err != nil {
		t.Fatal(err)
	}
	for _, variable := range spec.Variables {
		held := m.maps[variable.SectionName]
		copy(m.memory(held.values+uint64(variable.Offset), len(variable.Value)), variable.Value)
	}
	tables := dataplane.NewTables(options.Limits, options.Slots)
	steps, problems := dataplane.Diff(tables, dataplane.State{Services: services})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, step := range steps {
		step.Replay(tables)
	}
	m.hold(t, tables)
	return m
}

// holdVIPs writes them, and what leads to them.
func (m *machine) holdVIPs(vips map[dataplane.VIP]dataplane.VIPEntry) {
	places, entries := m.maps[lbMapVipPlaces], m.maps[lbMapVipEntries]
	exact := newExactVIPs(42, make([]lbVipLine, places.entries), make([]lbVipEntry, entries.entries))
	exact.follow(nil)
	for vip, entry := range vips {
		m.put(lbMapVips, encodeVIP(vip), encodeVIPEntry(entry))
		exact.put(encodeVIP(vip), encodeVIPEntry(entry))
	}
	for index, entry := range exact.entries {
		m.put(lbMapVipEntries, uint32(index), entry)
	}
	for line, of := range exact.lines {
		m.put(lbMapVipPlaces, uint32(line), of)
	}
}

// hold writes what the program reads of the tables.
func (m *machine) hold(t testing.TB, tables *dataplane.Tables) {
	t.Helper()
	m.holdVIPs(tables.VIPs)
	for index, entry := range tables.Backends {
		encoded, err := encodeBackend(entry)
		if err != nil {
			t.Fatal(err)
		}
		m.put(lbMapBackends, index, encoded)
	}
	for index := range tables.Egress {
		m.put(lbMapEgress, index, index)
	}
	copy(m.memory(m.maps[lbMapSlots].values, 4*len(tables.Slots)), flat(tables.Slots))
	copy(m.memory(m.maps[lbMapConditions].values, 4*len(tables.Conditions)), flat([]uint32(tables.Conditions)))
}
