package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// conversion makes values of one layout into those of another: fields by their
// names, enumerators by theirs, numbers wider or narrower. What has no place in
// the new layout, or does not fit, is noted in lost.
type conversion struct {
	convert func(to, from []byte)
	lost    map[string]int // fields that held something, by their path, and how often
	same    bool           // the layouts are, so that bytes can be copied
}

// newConversion fails where the types have nothing in common. Where a type is not
// known, the other has to be of the same size.
func newConversion(to, from btf.Type, toSize, fromSize int) (*conversion, error) {
	c := &conversion{lost: make(map[string]int)}
	if to == nil || from == nil {
		if toSize != fromSize {
			return nil, fmt.Errorf("%d bytes of a type that the kernel did not keep", fromSize)
		}
		c.same, c.convert = true, func(to, from []byte) { copy(to, from) }
		return c, nil
	}
	c.same = sameType(to, from)
	var err error
	c.convert, err = c.compile("", to, from)
	return c, err
}

// compile finds out once what to do for each value. A converter writes all of its
// part of the new value, which is zero before.
func (c *conversion) compile(path string, to, from btf.Type) (func(to, from []byte), error) {
	to, from = btf.UnderlyingType(to), btf.UnderlyingType(from)
	if sameType(to, from) {
		size, err := btf.Sizeof(to)
		return func(to, from []byte) { copy(to[:size], from[:size]) }, err
	}
	toStruct, isStruct := to.(*btf.Struct)
	fromStruct, wasStruct := from.(*btf.Struct)
	toArray, isArray := to.(*btf.Array)
	fromArray, wasArray := from.(*btf.Array)
	switch {
	case isStruct && wasStruct:
		return c.compileStruct(path, toStruct, fromStruct)
	case isArray && wasArray:
		return c.compileArray(path, toArray, fromArray)
	case isScalar(to) && isScalar(from):
		return c.compileScalar(path, to, from)
	}
	return nil, fmt.Errorf("%s was %v and is %v", path, from, to)
}

func (c *conversion) compileStruct(path string, to, from *btf.Struct) (func(to, from []byte), error) {
	var parts []func(to, from []byte)
	for _, old := range from.Members {
		name := path + "." + old.Name
		if path == "" {
			name = old.Name
		}
		size, err := btf.Sizeof(old.Type)
		if err != nil {
			return nil, err
		}
		start, end := old.Offset.Bytes(), old.Offset.Bytes()+uint32(size)
		now := member(to, old.Name)
		if now == nil {
			parts = append(parts, func(_, from []byte) { c.drop(name, from[start:end]) })
			continue
		}
		if now.BitfieldSize != 0 || old.BitfieldSize != 0 {
			return nil, fmt.Errorf("%s is a bit field", name)
		}
		part, err := c.compile(name, now.Type, old.Type)
		if err != nil {
			return nil, err
		}
		at := now.Offset.Bytes()
		parts = append(parts, func(to, from []byte) { part(to[at:], from[start:end]) })
	}
	return func(to, from []byte) {
		for _, part := range parts {
			part(to, from)
		}
	}, nil
}

func member(of *btf.Struct, name string) *btf.Member {
	for i := range of.Members {
		if of.Members[i].Name == name {
			return &of.Members[i]
		}
	}
	return nil
}

// compileArray keeps elements at their places.
func (c *conversion) compileArray(path string, to, from *btf.Array) (func(to, from []byte), error) {
	element, err := c.compile(path+"[]", to.Type, from.Type)
	if err != nil {
		return nil, err
	}
	toSize, err := btf.Sizeof(to.Type)
	if err != nil {
		return nil, err
	}
	fromSize, err := btf.Sizeof(from.Type)
	return func(toBytes, fromBytes []byte) {
		for i := range int(from.Nelems) {
			old := fromBytes[i*fromSize:][:fromSize]
			if i < int(to.Nelems) {
				element(toBytes[i*toSize:], old)
			} else {
				c.drop(path+"[]", old)
			}
		}
	}, err
}

// compileScalar converts numbers, and enumerators by their names. What does not
// fit becomes zero, which every reader takes for none.
func (c *conversion) compileScalar(path string, to, from btf.Type) (func(to, from []byte), error) {
	toSize, err := btf.Sizeof(to)
	if err != nil {
		return nil, err
	}
	fromSize, err := btf.Sizeof(from)
	renumber := renumbering(to, from)
	return func(toBytes, fromBytes []byte) {
		number, known := renumber(load(fromBytes[:fromSize]))
		if !known || toSize < 8 && number>>(8*toSize) != 0 {
			c.lost[path]++
			return
		}
		store(toBytes[:toSize], number)
	}, err
}

func (c *conversion) drop(path string, value []byte) {
	for _, b := range value {
		if b != 0 {
			c.lost[path]++
			return
		}
	}
}

// renumbering is for enumerators, whose numbers may change from build to build
// and whose names may not. A number that is no enumerator is a sum of flags.
func renumbering(to, from btf.Type) func(uint64) (uint64, bool) {
	now, isEnum := to.(*btf.Enum)
	old, wasEnum := from.(*btf.Enum)
	if !isEnum || !wasEnum {
		return func(number uint64) (uint64, bool) { return number, true }
	}
	numbers := make(map[string]uint64)
	for _, value := range now.Values {
		numbers[value.Name] = value.Value
	}
	return func(number uint64) (uint64, bool) {
		for _, value := range old.Values {
			if value.Value == number {
				renumbered, known := numbers[value.Name]
				return renumbered, known
			}
		}
		sum, left := uint64(0), number
		for _, value := range old.Values {
			renumbered, known := numbers[value.Name]
			if known && value.Value&(value.Value-1) == 0 && left&value.Value != 0 {
				sum, left = sum|renumbered, left&^value.Value
			}
		}
		return sum, left == 0
	}
}

func isScalar(t btf.Type) bool {
	switch t.(type) {
	case *btf.Int, *btf.Enum:
		return true
	}
	return false
}

// load and store are for numbers of 1, 2, 4 or 8 bytes in this machine's order,
// which the generated types settle to be little-endian.
func load(bytes []byte) uint64 {
	var word [8]byte
	copy(word[:], bytes)
	return binary.LittleEndian.Uint64(word[:])
}

func store(bytes []byte, number uint64) {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], number)
	copy(bytes, word[:])
}

// sameType tells whether two types have the same layout and mean the same by
// their names. Names of the types themselves do not matter, nor qualifiers.
func sameType(a, b btf.Type) bool {
	a, b = btf.UnderlyingType(a), btf.UnderlyingType(b)
	switch a := a.(type) {
	case *btf.Int:
		b, is := b.(*btf.Int)
		return is && a.Size == b.Size && a.Encoding == b.Encoding
	case *btf.Enum:
		b, is := b.(*btf.Enum)
		if !is || a.Size != b.Size || len(a.Values) != len(b.Values) {
			return false
		}
		for i := range a.Values {
			if a.Values[i] != b.Values[i] {
				return false
			}
		}
		return true
	case *btf.Array:
		b, is := b.(*btf.Array)
		return is && a.Nelems == b.Nelems && sameType(a.Type, b.Type)
	case *btf.Struct:
		b, is := b.(*btf.Struct)
		if !is || a.Size != b.Size || len(a.Members) != len(b.Members) {
			return false
		}
		for i := range a.Members {
			x, y := a.Members[i], b.Members[i]
			if x.Name != y.Name || x.Offset != y.Offset || x.BitfieldSize != y.BitfieldSize || !sameType(x.Type, y.Type) {
				return false
			}
		}
		return true
	}
	return false
}
