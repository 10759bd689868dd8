package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// mapped is the memory of the maps that are shared with the program word by
// word, without a system call: an owner or a phase is one atomic store.
type mapped struct {
	regions    [][]byte
	slots      []uint32
	conditions dataplane.Conditions
	flows      dataplane.Flows
	switches   *lbSwitchWords
	vipLines   []lbVipLine
	vipEntries []lbVipEntry

	connections connections
}

func (m *mapped) open(maps *lbMaps) error {
	slots, err := m.region(maps.Slots)
	if err != nil {
		return err
	}
	conditions, err := m.region(maps.Conditions)
	if err != nil {
		return err
	}
	flows, err := m.region(maps.Flows)
	if err != nil {
		return err
	}
	switches, err := m.region(maps.Switches)
	if err != nil {
		return err
	}
	vipLines, err := m.region(maps.VipPlaces)
	if err != nil {
		return err
	}
	vipEntries, err := m.region(maps.VipEntries)
	if err != nil {
		return err
	}
	m.vipLines, m.vipEntries = words[lbVipLine](vipLines), words[lbVipEntry](vipEntries)
	m.switches = (*lbSwitchWords)(unsafe.Pointer(unsafe.SliceData(switches)))
	m.conditions = words[uint32](conditions)
	m.slots = words[uint32](slots)
	m.slots = m.slots[:min(len(m.slots), m.conditions.Slots())] // their last line may hold more
	m.flows = words[uint64](flows)
	return m.openConnections(maps)
}

// region maps all values of an array map.
func (m *mapped) region(array *ebpf.Map) ([]byte, error) {
	size := int(array.MaxEntries()) * int(array.ValueSize())
	memory, err := unix.Mmap(array.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", array, err)
	}
	m.regions = append(m.regions, memory)
	return memory, nil
}

// words is memory by the value of a map; a region starts on a page.
func words[Word uint32 | uint64 | lbVipLine | lbVipEntry](memory []byte) []Word {
	var word Word
	return unsafe.Slice((*Word)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/int(unsafe.Sizeof(word)))
}

func (m *mapped) close() error {
	var failures []error
	for _, region := range m.regions {
		failures = append(failures, unix.Munmap(region))
	}
	*m = mapped{}
	return errors.Join(failures...)
}
