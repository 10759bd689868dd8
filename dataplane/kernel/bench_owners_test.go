package kernel

import (
	"sync/atomic"
	"testing"
	"unsafe"
)

// BenchmarkPrivilegedOwnersWritten is about all owners of a service: through mapped
// memory, as they are, and by system calls, a line of sixteen or all lines at a time.
// Those replace whole lines, so that what packets read would not be one owner's change.
func BenchmarkPrivilegedOwnersWritten(b *testing.B) {
	w := worldOf(b, "owners", bigService("web", 10))
	m, owners := w.plane.objects.Slots, w.tables.Slots[:lines(benchSlots, slotsPerLine)*slotsPerLine]
	all := unsafe.Slice((*lbSlotLine)(unsafe.Pointer(unsafe.SliceData(owners))), len(owners)/int(slotsPerLine))
	numbers := make([]uint32, len(all))
	for i := range numbers {
		numbers[i] = uint32(i)
	}
	b.Run("mapped", func(b *testing.B) {
		for b.Loop() {
			for slot := range owners {
				atomic.StoreUint32(&owners[slot], atomic.LoadUint32(&owners[slot]))
			}
		}
	})
	b.Run("a-call-a-line", func(b *testing.B) {
		for b.Loop() {
			for i := range all {
				if err := m.Put(uint32(i), &all[i]); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("a-call-for-all", func(b *testing.B) {
		for b.Loop() {
			if _, err := m.BatchUpdate(numbers, all, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
