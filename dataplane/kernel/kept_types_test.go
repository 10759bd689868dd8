package kernel

import (
	"testing"

	"github.com/cilium/ebpf"
)

func TestPrivilegedTheTypesThatABuildNotesAreThoseOfItsMaps(t *testing.T) {
	needRoot(t)
	spec, err := loadLb()
	if err != nil {
		t.Fatal(err)
	}
	notes, err := ebpf.NewMap(spec.Maps[lbMapTypeNotes])
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	if kept, err := keptTypes(notes); kept != nil || err != nil {
		t.Errorf("before anything is noted there is %v, %v", kept, err)
	}
	if err := noteTypes(notes, spec); err != nil {
		t.Fatal(err)
	}
	kept, err := keptTypes(notes)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range spec.Maps {
		if !isTable(name) {
			continue
		}
		got := kept.table(name, nil)
		if (got.key == nil) != (want.Key == nil) || got.key != nil && !sameType(want.Key, got.key) {
			t.Errorf("the keys of %s are noted as %v, and are %v", name, got.key, want.Key)
		}
		if (got.value == nil) != (want.Value == nil) || got.value != nil && !sameType(want.Value, got.value) {
			t.Errorf("the values of %s are noted as %v, and are %v", name, got.value, want.Value)
		}
	}
}
