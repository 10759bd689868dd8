package kernel

import (
	"unsafe"

	"github.com/cilium/ebpf/btf"
)

// remedy is for a field that a later layout says in another way: the hook beside
// the conversion by names. It finds the old value in from, and mends to, which has
// been converted.
type remedy struct {
	field string // of the old layout
	mend  func(to []byte, old uint64)
}

// remedies are by the map that has the field.
var remedies = map[string]remedy{
	// Backends had the path's MTU before they had the longest packet that fits.
	lbMapBackends: {"mtu", func(to []byte, mtu uint64) {
		backend := (*lbBackend)(unsafe.Pointer(unsafe.SliceData(to)))
		if overhead := decodeBackend(*backend).Overhead(); backend.Ifindex != 0 && mtu > uint64(overhead) {
			backend.Longest = uint16(mtu) - overhead
		}
	}},
}

// applied returns the remedy for a map in whose old layout the field is, as what
// comes after a conversion; nil where there is none.
func (r remedy) applied(from btf.Type) func(to, from []byte) {
	layout, is := btf.UnderlyingType(from).(*btf.Struct)
	if !is || r.mend == nil {
		return nil
	}
	field := member(layout, r.field)
	if field == nil {
		return nil
	}
	size, err := btf.Sizeof(field.Type)
	if err != nil {
		return nil
	}
	at := field.Offset.Bytes()
	return func(to, from []byte) { r.mend(to, load(from[at:][:size])) }
}

// remedied adds the map's remedy to a conversion, if it needs one.
func (c *conversion) remedied(name string, to, from table) {
	r := remedies[name]
	mend := r.applied(from.value)
	if mend == nil || c.same || int(to.ValueSize()) < int(unsafe.Sizeof(lbBackend{})) {
		return
	}
	convert := c.convert
	c.convert = func(to, from []byte) {
		convert(to, from)
		delete(c.lost, r.field)
		mend(to, from)
	}
}
