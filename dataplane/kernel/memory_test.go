package kernel

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// The formula of docs/performance.md, in bytes. What no limit of the file decides is
// mostly room for the ways of fragments.
func mapMemory(o Options, cpus int) int {
	const fixed = 8 << 20
	return 20*int(o.Slots) + 8*int(o.Flows) + 152*int(o.Connections) + (104+24*cpus)*int(o.Limits.Backends) +
		288*int(o.Limits.VIPs) + (168+512*cpus)*int(o.Limits.Services) + cpus<<17 + fixed
}

func TestPrivilegedMapsTakeTheMemoryThatTheFormulaSays(t *testing.T) {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		PinDir: pinDir(t), Secret: 42,
		Limits: dataplane.Limits{Services: 2048, VIPs: 8192, Backends: 1 << 16}, Slots: 1 << 20, Flows: 1 << 20,
		Connections: 1 << 18,
	}
	plane, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer plane.Close()
	sum := 0
	for name, m := range plane.maps() {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		bytes, known := info.Memlock()
		if t.Logf("%s: %d bytes", name, bytes); known {
			sum += int(bytes)
		}
	}
	// Kernels differ in what they count: before Linux 6.4 it was an estimate.
	if want := mapMemory(o, cpus); sum > want*11/10 || sum < want/2 {
		t.Errorf("the kernel counts %d bytes for the maps, the formula says %d", sum, want)
	}
}
