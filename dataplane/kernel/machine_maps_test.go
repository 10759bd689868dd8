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
	trie    bool              // its keys are prefixes
}

func (m *machine) addMap(spec *ebpf.MapSpec) {
	held := &memoryMap{
		name: spec.Name, number: uint64(len(m.maps)+1) << 48,
		key: int(spec.KeySize), value: (int(spec.ValueSize) + 7) &^ 7, entries: spec.MaxEntries,
	}
	switch spec.Type {
	case ebpf.Array, ebpf.PerCPUArray:
		held.values = m.grow(held.value*int(held.entries), spec.Name)
	case ebpf.Hash, ebpf.LRUHash, ebpf.DevMapHash, ebpf.LPMTrie:
		held.hash = make(map[string]uint64)
	}
	held.trie = spec.Type == ebpf.LPMTrie
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
	case asm.FnCheckMtu:
		note("mtu")
		m.store(m.reg[3], 1500, 4)
		return 0
	case asm.FnGetPrandomU32:
		note("random")
		return 4
	case asm.FnCsumDiff:
		note("csum_diff")
		return m.checksumDifference()
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

// checksumDifference is a sum by words, of one's complement, without what goes and with
// what comes.
func (m *machine) checksumDifference() uint64 {
	sum := uint64(uint32(m.reg[5]))
	add := func(at, size uint64, flip uint32) {
		for ; size > 0; at, size = at+4, size-4 {
			sum += uint64(uint32(m.load(at, 4)) ^ flip)
		}
	}
	add(m.reg[1], m.reg[2], ^uint32(0))
	add(m.reg[3], m.reg[4], 0)
	for sum>>32 != 0 {
		sum = sum&0xffffffff + sum>>32
	}
	return sum
}

func (held *memoryMap) lookup(m *machine) uint64 {
	key := m.memory(m.reg[2], held.key)
	if held.trie {
		return held.longestPrefix(key)
	}
	if held.hash != nil {
		return held.hash[string(key)]
	}
	index := binary.LittleEndian.Uint32(key)
	if index >= held.entries || held.values == 0 {
		return 0
	}
	return held.values + uint64(held.value)*uint64(index)
}

// longestPrefix is the value of the key that has the most bits, all of them the other's.
func (held *memoryMap) longestPrefix(of []byte) (value uint64) {
	most, limit := -1, int(binary.LittleEndian.Uint32(of))
	for key, at := range held.hash {
		bits := int(binary.LittleEndian.Uint32([]byte(key)))
		if bits > most && bits <= limit && sameBits(key[4:], string(of[4:]), bits) {
			most, value = bits, at
		}
	}
	return value
}

func sameBits(a, b string, bits int) bool {
	for i := range bits {
		if (a[i/8]^b[i/8])<<(i%8)&0x80 != 0 {
			return false
		}
	}
	return true
}

const machineSecret = 42

// shippedMachine has the shipped program, and maps that hold the services.
func shippedMachine(t testing.TB, services ...dataplane.Service) *machine {
	t.Helper()
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	options := Options{Secret: machineSecret, Limits: testLimits, Slots: 4096, Flows: 4096}
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
	state := dataplane.State{Services: services}
	if isNAT(services) {
		state.NAT = dataplane.DefaultNATSettings()
	}
	steps, problems := dataplane.Diff(tables, state)
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
func (m *machine) holdVIPs(t testing.TB, vips map[dataplane.VIP]dataplane.VIPEntry) {
	places, entries := m.maps[lbMapVipPlaces], m.maps[lbMapVipEntries]
	exact := newExactVIPs(machineSecret, make([]lbVipLine, places.entries), make([]lbVipEntry, entries.entries))
	exact.follow(nil)
	for vip, entry := range vips {
		if vip.IsWide() {
			key, err := encodeWideVIP(vip)
			if err != nil {
				t.Fatal(err)
			}
			m.put(lbMapWideVips, key, encodeVIPEntry(entry))
			continue
		}
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
	m.holdVIPs(t, tables.VIPs)
	for prefix := range tables.Prefixes {
		key, value := encodePrefix(prefix)
		m.put(lbMapWidePrefixes, key, value)
	}
	if tables.SeesNAT {
		settings, err := encodeNAT(tables.NAT)
		if err != nil {
			t.Fatal(err)
		}
		m.put(lbMapNat, uint32(0), settings)
	}
	m.put(lbMapSwitches, uint32(0), lbSwitchWords{Wide: uint32(one(tables.SeesWide)), Nat: uint32(one(tables.SeesNAT))})
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
