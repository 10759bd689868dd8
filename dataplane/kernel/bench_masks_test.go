package kernel

import (
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// masked is the shipped program with arrays like those of a world that were made
// without CAP_PERFMON: the kernel masks each index against speculation (Spectre v1).
func (w *benchWorld) masked(tb testing.TB) (*ebpf.Program, error) {
	tb.Helper()
	spec, err := loadLb()
	if err != nil {
		tb.Fatal(err)
	}
	size(spec, w.options)
	if err := spec.Variables[lbVarConfig].Set(settings(w.options, spec, 0)); err != nil {
		tb.Fatal(err)
	}
	replacements := w.plane.maps()
	for name, m := range replacements {
		if m.Type() == ebpf.Array {
			replacements[name] = maskedCopy(tb, spec.Maps[name], m)
		}
	}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, err
	}
	tb.Cleanup(loaded.Close)
	return loaded.Programs[lbProgPointsmanLb], nil
}

func maskedCopy(tb testing.TB, spec *ebpf.MapSpec, of *ebpf.Map) *ebpf.Map {
	tb.Helper()
	var made *ebpf.Map
	withoutPerfmon(tb, func() (err error) {
		made, err = ebpf.NewMap(spec)
		return err
	})
	tb.Cleanup(func() { made.Close() })
	var key, value []byte
	for entries := of.Iterate(); entries.Next(&key, &value); {
		if isZero(value) {
			continue
		}
		if err := made.Put(key, value); err != nil {
			tb.Fatal(err)
		}
	}
	return made
}

// withoutPerfmon does something without CAP_PERFMON, nor CAP_SYS_ADMIN, which implies it.
func withoutPerfmon(tb testing.TB, do func() error) {
	tb.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	if err := unix.Capget(&header, &all[0]); err != nil {
		tb.Fatal(err)
	}
	fewer := all
	fewer[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	fewer[1].Effective &^= 1 << (unix.CAP_PERFMON - 32)
	if err := unix.Capset(&header, &fewer[0]); err != nil {
		tb.Fatal(err)
	}
	failure := do()
	if err := unix.Capset(&header, &all[0]); err != nil {
		tb.Fatal(err)
	}
	if failure != nil {
		tb.Fatal(failure)
	}
}
