package kernel

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// packed is an array map whose values are lines of several elements, in memory.
type packed struct {
	memory  []byte
	element btf.Type
	size    int // of an element
	perLine int
	stride  int // of a line
}

func (t table) packed() (*packed, error) {
	line, is := btf.UnderlyingType(t.value).(*btf.Struct)
	if !is || len(line.Members) != 1 {
		return nil, fmt.Errorf("a value of %d bytes that is no line of elements", t.ValueSize())
	}
	elements, is := btf.UnderlyingType(line.Members[0].Type).(*btf.Array)
	if !is || t.Flags()&unix.BPF_F_MMAPABLE == 0 {
		return nil, errors.New("a value that is no line of elements in memory")
	}
	size, err := btf.Sizeof(elements.Type)
	if err != nil {
		return nil, err
	}
	p := &packed{element: elements.Type, size: size, perLine: int(elements.Nelems), stride: stride(t.Map)}
	p.memory, err = mapRegion(t.Map)
	return p, err
}

// stride is how far apart the values of an array map are.
func stride(m *ebpf.Map) int { return (int(m.ValueSize()) + 7) &^ 7 }

func mapRegion(m *ebpf.Map) ([]byte, error) {
	memory, err := unix.Mmap(m.FD(), 0, int(m.MaxEntries())*stride(m), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", m, err)
	}
	return memory, nil
}

func (p *packed) close() error { return unix.Munmap(p.memory) }

func (p *packed) len() int { return len(p.memory) / p.stride * p.perLine }

func (p *packed) at(i int) []byte {
	return p.memory[i/p.perLine*p.stride+i%p.perLine*p.size:][:p.size:p.size]
}

// both opens a pair of packed maps for the time of a call.
func both(to, from table, use func(to, from *packed) error) error {
	new, err := to.packed()
	if err != nil {
		return err
	}
	defer new.close()
	old, err := from.packed()
	if err != nil {
		return err
	}
	defer old.close()
	return use(new, old)
}

// elementCopier copies elements to the same places: owners and conditions of slots.
func (t *takeover) elementCopier(to, from table) (func() error, error) {
	var c *conversion
	err := both(to, from, func(new, old *packed) (err error) {
		c, err = newConversion(new.element, old.element, new.size, old.size)
		return err
	})
	return func() error {
		return both(to, from, func(new, old *packed) error {
			if c.same && new.perLine == old.perLine && new.stride == old.stride {
				copy(new.memory, old.memory)
				return nil
			}
			for i := range min(new.len(), old.len()) {
				value := make([]byte, new.size)
				c.convert(value, old.at(i))
				copy(new.at(i), value)
			}
			return nil
		})
	}, err
}

// mergeSeconds takes over when phases were last needed, as the old program noted
// it: else a slot could settle while a flow still depends on its phase.
func (t *takeover) mergeSeconds() error {
	to, is := t.to.tables[lbMapConditions]
	from, was := t.from.tables[lbMapConditions]
	if !is || !was {
		return nil
	}
	err := both(to, from, func(new, old *packed) error {
		now, before := lanesIn(new.element), lanesIn(old.element)
		for name, lane := range now {
			if was, known := before[name]; known {
				mergeLane(new, old, lane, was)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("taking over the seconds of phases: %w", err)
	}
	return nil
}

// laneAt is where the condition of one protocol is within a slot's.
type laneAt struct{ word, second int }

func lanesIn(element btf.Type) map[string]laneAt {
	lanes := make(map[string]laneAt)
	slot, is := btf.UnderlyingType(element).(*btf.Struct)
	if !is {
		return nil
	}
	for _, protocol := range slot.Members {
		condition, is := btf.UnderlyingType(protocol.Type).(*btf.Struct)
		if !is {
			continue
		}
		word, second := member(condition, "word"), member(condition, "second")
		if word == nil || second == nil {
			continue
		}
		at := int(protocol.Offset.Bytes())
		lanes[protocol.Name] = laneAt{at + int(word.Offset.Bytes()), at + int(second.Offset.Bytes())}
	}
	return lanes
}

// mergeLane leaves the later second of each slot that is in some phase. The new
// program may note one at the same time.
func mergeLane(new, old *packed, now, before laneAt) {
	for i := range min(new.len(), old.len()) {
		to, from := new.at(i), old.at(i)
		if *wordAt[uint32](to, now.word) == 0 || *wordAt[uint32](from, before.word) == 0 {
			continue
		}
		second := wordAt[uint32](to, now.second)
		for {
			held, noted := atomic.LoadUint32(second), atomic.LoadUint32(wordAt[uint32](from, before.second))
			if int32(noted-held) <= 0 || atomic.CompareAndSwapUint32(second, held, noted) {
				break
			}
		}
	}
}

func wordAt[Word uint32 | uint64](memory []byte, offset int) *Word {
	var word Word
	return (*Word)(unsafe.Pointer(unsafe.SliceData(memory[offset:][:unsafe.Sizeof(word)])))
}
