package controlplane

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// monotonicSecond is the second of the clock that the program reads
// (bpf_ktime_get_coarse_ns), by which flows expire and slots settle.
func monotonicSecond() uint32 {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		panic(fmt.Sprintf("reading the monotonic clock: %v", err)) // every Linux has it
	}
	return uint32(now.Sec)
}
