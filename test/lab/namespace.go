package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	namespaces = "/run/netns" // where ip(8) and nsenter(1) users look for them
	bpffs      = "/sys/fs/bpf"
)

// namespace is a named network namespace and a thread that stays inside it.
//
// The thread is there to start processes: a process inherits the namespace of
// the thread that forks it and, unlike with "ip netns exec", the mount
// namespace too, so that /sys/fs/bpf stays visible. It lives as long as the
// namespace because the death signal of a child is bound to the thread that
// started it, not to the process.
type namespace struct {
	name   string
	handle netns.NsHandle
	calls  chan func()
	ended  chan struct{}
}

func newNamespace(name string) (*namespace, error) {
	ns := &namespace{name: name, calls: make(chan func()), ended: make(chan struct{})}
	made := make(chan error)
	go ns.stay(made)
	if err := <-made; err != nil {
		return nil, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	return ns, nil
}

// stay never unlocks its thread, so that the runtime ends the thread with it.
func (ns *namespace) stay(made chan<- error) {
	defer close(ns.ended)
	runtime.LockOSThread()
	var err error
	ns.handle, err = netns.NewNamed(ns.name)
	made <- err
	if err != nil {
		return
	}
	for call := range ns.calls {
		call()
	}
}

// inside runs f on the thread that stays in the namespace.
func (ns *namespace) inside(f func()) {
	done := make(chan struct{})
	ns.calls <- func() { defer close(done); f() }
	<-done
}

// enter runs f on the caller's goroutine, its thread moved into the namespace
// for as long. Goroutines that f starts run elsewhere.
func (ns *namespace) enter(f func() error) error {
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the current network namespace: %w", err)
	}
	defer before.Close()
	if err := netns.Set(ns.handle); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering network namespace %s: %w", ns.name, err)
	}
	defer func() {
		// A thread that cannot go home must never run anything else: it stays
		// locked and ends with this goroutine.
		if err := netns.Set(before); err != nil {
			panic(fmt.Sprintf("leaving network namespace %s: %v", ns.name, err))
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

func (ns *namespace) remove() error {
	close(ns.calls)
	<-ns.ended
	ns.handle.Close()
	return removeNamespace(ns.name)
}

// removeNamespace takes a name away; the namespace goes with its last user.
func removeNamespace(name string) error {
	path := filepath.Join(namespaces, name)
	// A run that was killed between creating the file and mounting on it
	// leaves a file that is no mount point: EINVAL.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// mountBPF does what systemd does at boot, for machines without it.
func mountBPF() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(bpffs, &fs); err == nil && fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", bpffs, "bpf", 0, ""); err != nil {
		return fmt.Errorf("mounting bpffs on %s: %w", bpffs, err)
	}
	return nil
}
