package kernel

import (
	"bytes"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// mapTypes are the types of a build's maps, as it noted them in one of them.
type mapTypes struct{ *btf.Spec }

// What is noted is a typedef for each, since its name alone tells whose it is.
func keyTypeName(table string) string   { return table + "__key" }
func valueTypeName(table string) string { return table + "__value" }

// noteTypes leaves the types of all maps for the build that comes after this one.
func noteTypes(into *ebpf.Map, spec *ebpf.CollectionSpec) error {
	noted, err := encodeTypes(spec)
	if err != nil {
		return fmt.Errorf("noting the types of the maps: %w", err)
	}
	if err := into.Put(uint32(0), noted); err != nil {
		return fmt.Errorf("noting the types of the maps: %w", err)
	}
	return nil
}

func encodeTypes(spec *ebpf.CollectionSpec) (*lbMapTypes, error) {
	var all []btf.Type
	for name, table := range spec.Maps {
		if !isTable(name) {
			continue
		}
		if table.Key != nil {
			all = append(all, &btf.Typedef{Name: keyTypeName(name), Type: table.Key})
		}
		if table.Value != nil {
			all = append(all, &btf.Typedef{Name: valueTypeName(name), Type: table.Value})
		}
	}
	builder, err := btf.NewBuilder(all, nil)
	if err != nil {
		return nil, err
	}
	encoded, err := builder.Marshal(nil, nil)
	if err != nil {
		return nil, err
	}
	noted := new(lbMapTypes)
	if len(encoded) > len(noted.Btf) {
		return nil, fmt.Errorf("they take %d bytes, and there is room for %d: raise MAP_TYPES_SIZE", len(encoded), len(noted.Btf))
	}
	noted.Size = uint32(copy(noted.Btf[:], encoded))
	return noted, nil
}

// keptTypes reads what a build noted; nil if it did not. Another build's map may
// have another size, but begins as ours does.
func keptTypes(m *ebpf.Map) (*mapTypes, error) {
	if m == nil {
		return nil, nil
	}
	noted := make([]byte, m.ValueSize())
	if err := m.Lookup(uint32(0), noted); err != nil {
		return nil, err
	}
	begin := int(unsafe.Offsetof(lbMapTypes{}.Btf))
	size := int(load(noted[:begin]))
	if size == 0 {
		return nil, nil // its process died before it wrote them
	}
	if size > len(noted)-begin {
		return nil, fmt.Errorf("%d bytes of types in a map of %d", size, len(noted))
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(noted[begin:][:size]))
	if err != nil {
		return nil, err
	}
	return &mapTypes{spec}, nil
}

// table is a map with what is noted of its types; nil where nothing is.
func (k *mapTypes) table(name string, m *ebpf.Map) table {
	if k == nil {
		return table{Map: m}
	}
	return table{m, k.named(keyTypeName(name)), k.named(valueTypeName(name))}
}

func (k *mapTypes) named(name string) btf.Type {
	var found *btf.Typedef
	if k.TypeByName(name, &found) != nil {
		return nil
	}
	return found.Type
}
