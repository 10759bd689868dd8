package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// generation is all maps of one build, with what they are laid out like.
type generation struct {
	tables   map[string]table
	version  lbLayoutVersion
	secret   uint64 // see secretMark
	outcomes []string
	events   []string
}

// table is a map and the types of its keys and values; nil where the kernel kept
// none.
type table struct {
	*ebpf.Map
	key, value btf.Type
}

// openPinned opens all maps of a folder; nil if there is none in it.
func openPinned(dir string) (*generation, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the pinned maps: %w", err)
	}
	maps := make(map[string]*ebpf.Map)
	for _, entry := range entries {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, entry.Name()), nil)
		if err != nil {
			closeMaps(maps)
			return nil, fmt.Errorf("opening the pinned map %s: %w", entry.Name(), err)
		}
		maps[entry.Name()] = m
	}
	g, err := describe(maps)
	if err != nil {
		closeMaps(maps)
	}
	return g, err
}

// describe finds out what maps are laid out like: from what their build noted, or
// else from the kernel.
func describe(maps map[string]*ebpf.Map) (*generation, error) {
	g := &generation{tables: make(map[string]table), version: layoutWithoutMap, outcomes: outcomesWithoutMap, events: eventsWithoutMap}
	kept, err := keptTypes(maps[lbMapTypeNotes])
	if err != nil {
		return nil, fmt.Errorf("reading the layout of the pinned maps: %w", err)
	}
	for name, m := range maps {
		t := kept.table(name, m)
		if kept == nil {
			if t.key, t.value, err = typesOf(m); err != nil {
				return nil, fmt.Errorf("reading the layout of the pinned map %s, of a build that did not note it, which takes CAP_SYS_ADMIN: %w", name, err)
			}
		}
		g.tables[name] = t
	}
	layouts, known := g.tables[lbMapLayouts]
	if !known {
		return g, nil
	}
	layout, is := btf.UnderlyingType(layouts.value).(*btf.Struct)
	if !is {
		return nil, errors.New("reading the layout of the pinned maps: the kernel did not keep its type")
	}
	old, own := make([]byte, layouts.ValueSize()), lbLayout{}
	if err := layouts.Lookup(uint32(0), old); err != nil {
		return nil, fmt.Errorf("reading the layout of the pinned maps: %w", err)
	}
	// Not as converted: a later version has another name.
	if version := member(layout, "version"); version != nil {
		g.version = lbLayoutVersion(load(old[version.Offset.Bytes():][:4]))
	}
	if g.isLater() {
		return g, nil // and nobody here knows what else it says
	}
	now, err := loadLb()
	if err != nil {
		return nil, err
	}
	c, err := newConversion(now.Maps[lbMapLayouts].Value, layout, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the layout of the pinned maps: %w", err)
	}
	c.convert(unsafe.Slice((*byte)(unsafe.Pointer(&own)), unsafe.Sizeof(own)), old)
	g.secret = own.Secret
	g.outcomes, g.events = namesIn(layout, "outcomes"), namesIn(layout, "events")
	return g, nil
}

// namesIn are the enumerators of a field's type, by number.
func namesIn(layout *btf.Struct, field string) []string {
	of := member(layout, field)
	if of == nil {
		return nil
	}
	enum, is := btf.UnderlyingType(of.Type).(*btf.Enum)
	if !is {
		return nil
	}
	return enumerators(enum)
}

func enumerators(enum *btf.Enum) []string {
	var names []string
	for _, value := range enum.Values {
		for int(value.Value) >= len(names) {
			names = append(names, "")
		}
		names[value.Value] = value.Name
	}
	return names
}

// typesOf are the types that the kernel keeps with a map. It takes CAP_SYS_ADMIN.
func typesOf(m *ebpf.Map) (key, value btf.Type, err error) {
	handle, err := m.Handle()
	if errors.Is(err, ebpf.ErrNotSupported) {
		return nil, nil, nil // as for maps whose keys are enumerators, and device maps
	}
	if err != nil {
		return nil, nil, err
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, nil, err
	}
	info, err := infoOf(m)
	if err != nil {
		return nil, nil, err
	}
	if key, err = spec.TypeByID(btf.TypeID(info.keyType)); err != nil {
		return nil, nil, err
	}
	value, err = spec.TypeByID(btf.TypeID(info.valueType))
	return key, value, err
}

// mapInfo is struct bpf_map_info of linux/bpf.h as far as we need it: the library
// tells which types are kept with a map, but not which of them is the value's.
type mapInfo struct {
	_                  [64]byte
	_                  uint32 // btf_id
	keyType, valueType uint32
	_                  uint32
}

func infoOf(m *ebpf.Map) (mapInfo, error) {
	const getInfoByFD = 15 // BPF_OBJ_GET_INFO_BY_FD
	info := new(mapInfo)
	attributes := struct {
		fd, length uint32
		info       *mapInfo
	}{uint32(m.FD()), uint32(unsafe.Sizeof(*info)), info}
	_, _, errno := unix.Syscall(unix.SYS_BPF, getInfoByFD, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes))
	if errno != 0 {
		return *info, fmt.Errorf("asking the kernel about %s: %w", m, errno)
	}
	return *info, nil
}

// close lets go of the maps, if there are any.
func (g *generation) close() {
	if g == nil {
		return
	}
	for _, t := range g.tables {
		t.Close()
	}
}

// fit tells whether maps can serve as they are: they are those that the spec
// asks for, as large at least, and mean the same. The spec takes their sizes.
func (g *generation) fit(spec *ebpf.CollectionSpec, secret uint64) bool {
	fits := g.version == lbLayoutVersionLAYOUT_VERSION && g.secret == secret
	wanted := 0
	for name, want := range spec.Maps {
		if !isTable(name) {
			continue
		}
		wanted++
		have, known := g.tables[name]
		fits = fits && known && have.MaxEntries() >= want.MaxEntries
		if !known {
			continue
		}
		if have.Type() == want.Type {
			want.MaxEntries = max(want.MaxEntries, have.MaxEntries())
		}
		fits = fits && want.Compatible(have.Map) == nil && sameKept(want.Key, have.key) && sameKept(want.Value, have.value)
	}
	return fits && wanted == len(g.tables)
}

// sameKept compares a type with the one that the kernel kept, if it did.
func sameKept(want, have btf.Type) bool { return have == nil || sameType(want, have) }
