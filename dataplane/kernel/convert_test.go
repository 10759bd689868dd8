package kernel

import (
	"bytes"
	"maps"
	"testing"

	"github.com/cilium/ebpf/btf"
)

var (
	u8  = &btf.Int{Name: "unsigned char", Size: 1}
	u16 = &btf.Int{Name: "unsigned short", Size: 2}
	u32 = &btf.Int{Name: "unsigned int", Size: 4}
)

// layoutOf is a struct without padding: name, type, name, type.
func layoutOf(fields ...any) *btf.Struct {
	s := &btf.Struct{}
	for i := 0; i < len(fields); i += 2 {
		kind := fields[i+1].(btf.Type)
		size, _ := btf.Sizeof(kind)
		s.Members = append(s.Members, btf.Member{Name: fields[i].(string), Type: kind, Offset: btf.Bits(8 * s.Size)})
		s.Size += uint32(size)
	}
	return s
}

func enumOf(names ...string) *btf.Enum {
	e := &btf.Enum{Size: 1}
	for i, name := range names {
		e.Values = append(e.Values, btf.EnumValue{Name: name, Value: uint64(i)})
	}
	return e
}

func flagsOf(names ...string) *btf.Enum {
	e := &btf.Enum{Size: 1}
	for i, name := range names {
		e.Values = append(e.Values, btf.EnumValue{Name: name, Value: 1 << i})
	}
	return e
}

func arrayOf(n int, of btf.Type) *btf.Array { return &btf.Array{Nelems: uint32(n), Type: of} }

func TestAValueOfOneLayoutBecomesOneOfAnother(t *testing.T) {
	for _, row := range []struct {
		promise  string
		from, to btf.Type
		value    []byte
		want     []byte
		lost     map[string]int
	}{
		{"fields move", layoutOf("a", u8, "b", u16), layoutOf("b", u16, "a", u8), []byte{1, 2, 3}, []byte{2, 3, 1}, nil},
		{"a new field is zero", layoutOf("a", u8), layoutOf("new", u16, "a", u8), []byte{7}, []byte{0, 0, 7}, nil},
		{"a field that is gone is lost", layoutOf("a", u8, "gone", u8), layoutOf("a", u8), []byte{7, 8}, []byte{7}, map[string]int{"gone": 1}},
		{"unless there was nothing in it", layoutOf("a", u8, "gone", u8), layoutOf("a", u8), []byte{7, 0}, []byte{7}, nil},
		{"a number is widened", layoutOf("a", u16), layoutOf("a", u32), []byte{1, 2}, []byte{1, 2, 0, 0}, nil},
		{"a number is narrowed", layoutOf("a", u32), layoutOf("a", u16), []byte{1, 2, 0, 0}, []byte{1, 2}, nil},
		{"one that does not fit is lost, and zero", layoutOf("a", u32), layoutOf("a", u16), []byte{1, 2, 3, 0}, []byte{0, 0}, map[string]int{"a": 1}},
		{"an enumerator keeps its name", layoutOf("e", enumOf("A", "B", "C")), layoutOf("e", enumOf("A", "X", "C", "B")), []byte{1}, []byte{3}, nil},
		{"one without a name is lost", layoutOf("e", enumOf("A", "B")), layoutOf("e", enumOf("A", "X")), []byte{1}, []byte{0}, map[string]int{"e": 1}},
		{"flags are told apart", layoutOf("f", flagsOf("P", "Q", "R")), layoutOf("f", flagsOf("R", "P", "Q")), []byte{5}, []byte{3}, nil},
		{"no flag at all stays none", layoutOf("f", flagsOf("P", "Q")), layoutOf("f", flagsOf("Q", "P")), []byte{0}, []byte{0}, nil},
		{"an unknown flag is lost", layoutOf("f", flagsOf("P", "Q")), layoutOf("f", flagsOf("P")), []byte{3}, []byte{0}, map[string]int{"f": 1}},
		{"an array grows", layoutOf("a", arrayOf(2, u8)), layoutOf("a", arrayOf(3, u8)), []byte{1, 2}, []byte{1, 2, 0}, nil},
		{"an array shrinks", layoutOf("a", arrayOf(3, u8)), layoutOf("a", arrayOf(2, u8)), []byte{1, 2, 3}, []byte{1, 2}, map[string]int{"a[]": 1}},
		{"structs within", layoutOf("s", layoutOf("x", u8, "y", u8), "t", u8), layoutOf("t", u8, "s", layoutOf("y", u16, "x", u8)),
			[]byte{1, 2, 3}, []byte{3, 2, 0, 1}, nil},
		{"an enum becomes a number", layoutOf("e", enumOf("A", "B")), layoutOf("e", u16), []byte{1}, []byte{1, 0}, nil},
	} {
		t.Run(row.promise, func(t *testing.T) {
			c, err := newConversion(row.to, row.from, len(row.want), len(row.value))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(row.want))
			c.convert(got, row.value)
			if !bytes.Equal(got, row.want) || !maps.Equal(c.lost, row.lost) {
				t.Errorf("% x became % x and lost %v, want % x and %v", row.value, got, c.lost, row.want, row.lost)
			}
		})
	}
}

func TestTypesThatHaveNothingInCommonAreRefused(t *testing.T) {
	for _, row := range [][2]btf.Type{
		{layoutOf("a", u32), layoutOf("a", arrayOf(2, u16))},
		{layoutOf("a", layoutOf("x", u8)), layoutOf("a", u8)},
	} {
		if _, err := newConversion(row[0], row[1], 4, 4); err == nil {
			t.Errorf("%v became %v", row[1], row[0])
		}
	}
	if _, err := newConversion(nil, u32, 8, 4); err == nil {
		t.Error("a type that is not known took another size")
	}
}

func TestTheShippedTypesConvertIntoThemselves(t *testing.T) {
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range spec.Maps {
		if m.Value == nil || !isTable(name) {
			continue
		}
		if c, err := newConversion(m.Value, m.Value, int(m.ValueSize), int(m.ValueSize)); err != nil || !c.same {
			t.Errorf("%s is not what it is: %v", name, err)
		}
	}
}
