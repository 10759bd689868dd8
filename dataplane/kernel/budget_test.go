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
	for second := range uint32(3) {
		// Far ahead of the clock, so that the real seconds that pass do not matter much.
		if err := plane.objects.ClockSkewSeconds.Set(1000 * (second + 1)); err != nil {
			t.Fatal(err)
		}
		var outcomes []string
		for range 5 {
			for name := range h.send(tooBig).moved {
				outcomes = append(outcomes, name)
			}
		}
		want := "[REPLY_TOO_BIG REPLY_TOO_BIG REPLY_TOO_BIG DROP_TOO_BIG DROP_TOO_BIG]"
		if got := fmt.Sprint(outcomes); got != want {
			t.Errorf("second %d: %s, want %s", second, got, want)
		}
	}
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
