package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// steps are the fast path's, each with the place in the source where the next one
// begins. To know what a step costs, the shipped program is cut short there: it
// ends, and all that comes after is left out. The first difference is to a program
// that only ends.
var steps = []struct{ name, file, next string }{
	{"parse", "vip.h", "bpf_map_lookup_elem(&vips"},
	{"vip", "judge.h", ""},
	{"judge", "hash.h", ""},
	{"hash", "slots.h", "bpf_map_lookup_elem(&slots"},
	{"slot", "slots.h", "bpf_map_lookup_elem(&backends"},
	{"backend", "encapsulate.h", ""},
	{"encapsulate", "send.h", ""},
	{"send-and-count", "", ""},
}

func stepScenarios() (all []scenario) {
	for _, step := range steps {
		all = append(all, scenario{
			name: "step-" + step.name, world: "settled", flow: segment4.at(81), flowBits: 19, against: emptyPass, cut: step.name,
		})
	}
	return all
}

// cutShort is the shipped program, with the maps of a world, up to the end of a step.
// Where the compiler has woven two steps into one, that may be no program that the
// verifier takes.
func (w *benchWorld) cutShort(tb testing.TB, step string) (*ebpf.Program, error) {
	tb.Helper()
	i := slices.IndexFunc(steps, func(s struct{ name, file, next string }) bool { return s.name == step })
	if steps[i].file == "" {
		return w.plane.objects.PointsmanLb, nil
	}
	spec, err := loadLb()
	if err != nil {
		tb.Fatal(err)
	}
	size(spec, w.options)
	if err := spec.Variables[lbVarConfig].Set(settings(w.options, spec, 0)); err != nil {
		tb.Fatal(err)
	}
	if err := endAt(spec.Programs[lbProgPointsmanLb].Instructions, steps[i].file, steps[i].next); err != nil {
		return nil, fmt.Errorf("cutting the program after %s: %w", step, err)
	}
	replacements := maps.Clone(w.plane.maps())
	maps.DeleteFunc(replacements, func(name string, _ *ebpf.Map) bool { return spec.Maps[name] == nil })
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("loading the program, cut after %s: %w", step, err)
	}
	tb.Cleanup(loaded.Close)
	return loaded.Programs[lbProgPointsmanLb], nil
}

// endAt writes over two instructions where a line of the source begins: a jump to
// the end that is always taken, so that the verifier takes all that follows out.
// Nothing may be moved, because jumps count instructions; and nobody may jump between
// the two.
func endAt(code asm.Instructions, file, text string) error {
	at, exit, offset := -1, -1, 0
	var offsets []int
	targets := make(map[int]bool)
	for i := range code {
		if i > 0 && code[i].Symbol() != "" {
			break // of the function
		}
		offsets = append(offsets, offset)
		offset += int(code[i].Size() / asm.InstructionSize)
		switch op := code[i].OpCode.JumpOp(); op {
		case asm.InvalidJumpOp, asm.Call:
		case asm.Exit:
			exit = i
		default:
			targets[offset+int(code[i].Offset)] = true
		}
		line, _ := code[i].Source().(*btf.Line)
		if at < 0 && line != nil && strings.HasSuffix(line.FileName(), file) && strings.Contains(line.String(), text) {
			at = i
		}
	}
	fits := func(i int) bool {
		return code[i].Size() == asm.InstructionSize && code[i+1].Size() == asm.InstructionSize && !targets[offsets[i+1]]
	}
	for at >= 0 && at+1 < len(offsets) && !fits(at) {
		at++
	}
	if at < 0 || exit < 0 || at+1 >= len(offsets) {
		return fmt.Errorf("%s has no line with %q, or there is no end", file, text)
	}
	replace := func(i int, ins asm.Instruction) {
		ins.Metadata = code[i].Metadata
		code[i] = ins
	}
	replace(at, asm.Mov.Imm(asm.R0, xdpTX))
	jump := asm.JEq.Imm(asm.R0, xdpTX, "")
	jump.Offset = int16(offsets[exit] - offsets[at+1] - 1)
	code[at+1] = jump
	return nil
}
