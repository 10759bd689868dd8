package lab

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// T is what ForTest needs of a *testing.T.
type T interface {
	Helper()
	Cleanup(func())
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

var (
	open       = map[*Lab]bool{}
	openLock   sync.Mutex
	watchOnce  sync.Once
	interrupts = make(chan os.Signal, 1)
)

// ForTest builds a lab for the duration of a test, and takes it down also when
// the test panics or somebody interrupts the run. What a killed run leaves, the
// next New removes.
func ForTest(t T, opts Options) *Lab {
	t.Helper()
	watchOnce.Do(func() {
		signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM)
		go closeOnSignal()
	})
	l, err := New(opts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	openLock.Lock()
	open[l] = true
	openLock.Unlock()
	t.Cleanup(func() {
		openLock.Lock()
		delete(open, l)
		openLock.Unlock()
		if err := l.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	return l
}

// closeOnSignal lives as long as the test binary: a test that is interrupted
// runs no cleanups of its own.
func closeOnSignal() {
	sig := (<-interrupts).(syscall.Signal)
	openLock.Lock()
	for l := range open {
		l.Close()
	}
	signal.Reset(sig)
	syscall.Kill(os.Getpid(), sig)
}
