package lab

import (
	"context"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel's verifier gives up when a signal is pending, and Go's runtime sends
// its threads signals all the time.
func TestPrivilegedAProgramIsLoadedHoweverManySignalsArrive(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("loading a program needs root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	thread := unix.Gettid()
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = unix.Tgkill(unix.Getpid(), thread, unix.SIGURG) // which Go's runtime takes for a wish to preempt
		}
	}()
	defer func() { cancel(); <-ended }()
	for range 2000 {
		fd, err := loadPass()
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
	}
}
