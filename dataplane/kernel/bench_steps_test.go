package kernel

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// A file of tests, so that what is generated is one, too, and no part of what ships.
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -no-global-types steps ../../bpf/steps.bpf.c -- -I../../bpf -idirafter /usr/include/x86_64-linux-gnu -O2 -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-function -fno-strict-aliasing

// steps are the fast path's, and ways to take one that the balancer does not go.
var steps = []string{
	"enter", "parse", "vip", "judge", "hash", "bucket", "slot", "backend", "encapsulate", "send", "count",
	"all-vip-by-hash", "all-slot-of-16-bits", "all-whole-checksum", "all-count-twice", masks,
}

const masks = "all-masks"

func stepScenarios() (all []scenario) {
	at := segment4.at(portOf(dataplane.IPIP))
	for _, step := range steps {
		all = append(all, scenario{name: "step-" + step, world: "settled", flow: at, flowBits: 19, against: emptyPass, step: step})
	}
	for _, step := range []string{"hash", "bucket"} {
		all = append(all, scenario{
			name: "step-moving-" + step, world: "moving", flow: segment4, flowBits: millionBits, against: emptyPass,
			step: step, before: (*benchWorld).rememberMillion,
		})
	}
	return append(all, scenario{name: "step-all", world: "settled", flow: at, flowBits: 19, outcome: "FORWARD", against: emptyPass})
}

// stepProgram is the program of bpf/steps.bpf.c for a step, with the maps of a world.
func (w *benchWorld) stepProgram(tb testing.TB, step string) (*ebpf.Program, error) {
	tb.Helper()
	if step == masks {
		return w.masked(tb)
	}
	spec, err := loadSteps()
	if err != nil {
		tb.Fatal(err)
	}
	shipped, err := loadLb()
	if err != nil {
		tb.Fatal(err)
	}
	size(shipped, w.options)
	if err := spec.Variables[lbVarConfig].Set(settings(w.options, shipped, 0)); err != nil {
		tb.Fatal(err)
	}
	replacements := maps.Clone(w.plane.maps())
	maps.DeleteFunc(replacements, func(name string, _ *ebpf.Map) bool { return spec.Maps[name] == nil })
	for name, m := range replacements {
		spec.Maps[name].MaxEntries = m.MaxEntries()
	}
	name := "step_" + strings.ReplaceAll(step, "-", "_")
	maps.DeleteFunc(spec.Programs, func(other string, _ *ebpf.ProgramSpec) bool { return other != name })
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("loading the program of step %s: %w", step, err)
	}
	tb.Cleanup(loaded.Close)
	return loaded.Programs[name], nil
}

// What is timed must be the balancer's way: whole, it makes of a packet what that does.
func TestPrivilegedTheStepsEndWhereTheShippedProgramDoes(t *testing.T) {
	needRoot(t)
	w := worldOf(t, "settled", servicesOfModes(251)...)
	frame := segment4.at(portOf(dataplane.IPIP)).frame()
	want := w.send(frame)
	for _, step := range steps {
		program, err := w.stepProgram(t, step)
		if err != nil {
			t.Fatal(err)
		}
		options := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
		verdict, err := program.Run(&options)
		if err != nil {
			t.Fatal(err)
		}
		out, whole := options.DataOut, step == "encapsulate" || step == "send" || step == "count" || strings.HasPrefix(step, "all-")
		switch {
		case !whole && verdict != xdpPass:
			t.Errorf("%s: the verdict is %d", step, verdict)
		case whole && step != "all-slot-of-16-bits" && (verdict != want.verdict || !bytes.Equal(out, want.frame)):
			t.Errorf("%s: the verdict is %d on\n%x, want %d on\n%x", step, verdict, out, want.verdict, want.frame)
		}
	}
}
