package kernel

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

func TestPrivilegedRefusalsAreLimitedEachSecond(t *testing.T) {
	needRoot(t)
	onOneCPU(t)
	plane, err := Open(Options{PinDir: pinDir(t), Secret: 42, Limits: testLimits, Slots: 4096, Flows: 4096, Errors: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	h := harnessOn(t, plane)
	h.want(serviceOn("web", backendTo(backend4, dataplane.IPIP, loopback)))
	tooBig := frame(ip4(df), udp(80, 1472))
	want := "[REPLY_TOO_BIG REPLY_TOO_BIG REPLY_TOO_BIG DROP_TOO_BIG DROP_TOO_BIG]"
	for second, seen := uint32(1000), 0; seen < 3; second += 1000 { // far from each other, whatever the real clock does
		begun := coarseSecond(t)
		h.turnClock(second)
		var outcomes []string
		for range 5 {
			for name := range h.send(tooBig).moved {
				outcomes = append(outcomes, name)
			}
		}
		if coarseSecond(t) != begun {
			continue // on a slow machine: the five were not of one second
		}
		seen++
		if got := fmt.Sprint(outcomes); got != want {
			t.Errorf("in second %d: %s, want %s", second, got, want)
		}
	}
}

// coarseSecond is that of the clock that the program reads.
func coarseSecond(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		t.Fatal(err)
	}
	return now.Sec
}

// onOneCPU keeps the test where its budget is counted.
func onOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	var one unix.CPUSet
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}
