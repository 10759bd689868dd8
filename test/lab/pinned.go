package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pinned is a program or a map by the path of its pin: what a test needs to meddle
// with a balancer that runs. It is a few system calls, for the same reason as
// loadPass.
type Pinned int

// OpenPinned opens one; it is to be closed.
func OpenPinned(path string) (Pinned, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	attr := struct {
		path      unsafe.Pointer
		fd, flags uint32
	}{path: unsafe.Pointer(name)}
	fd, err := bpf(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	return Pinned(fd), nil
}

// Close closes it.
func (p Pinned) Close() error { return unix.Close(int(p)) }

// Get is the value at a key of four bytes, which is size bytes long at most.
func (p Pinned) Get(key uint32, size int) ([]byte, error) {
	value := make([]byte, size)
	attr := element{fd: uint32(p), key: unsafe.Pointer(&key), value: unsafe.Pointer(&value[0])}
	if _, err := bpf(unix.BPF_MAP_LOOKUP_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, fmt.Errorf("reading entry %d: %w", key, err)
	}
	return value, nil
}

// Put replaces the value at a key of four bytes.
func (p Pinned) Put(key uint32, value []byte) error {
	attr := element{fd: uint32(p), key: unsafe.Pointer(&key), value: unsafe.Pointer(&value[0])}
	if _, err := bpf(unix.BPF_MAP_UPDATE_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("writing entry %d: %w", key, err)
	}
	return nil
}

// Delete deletes a key of four bytes, if it is there.
func (p Pinned) Delete(key uint32) error {
	attr := element{fd: uint32(p), key: unsafe.Pointer(&key)}
	if _, err := bpf(unix.BPF_MAP_DELETE_ELEM, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil && err != unix.ENOENT {
		return fmt.Errorf("deleting entry %d: %w", key, err)
	}
	return nil
}

// element is of union bpf_attr, for elements of maps.
type element struct {
	fd, _      uint32
	key, value unsafe.Pointer
	flags      uint64
}

// metadata takes so much of the 256 bytes in front of a frame that no outer header
// fits: XDP keeps some 40 for itself. It may be longer than 32 since Linux 6.9.
const metadata = 204

// RunCramped has a program see a frame that came in by an interface of the caller's
// namespace, with next to no room in front of it: metadata takes it.
func (p Pinned) RunCramped(frame []byte, ifindex int) error {
	data := append(make([]byte, metadata), frame...)
	ctx := struct{ data, end, meta, ingress, queue, egress uint32 }{data: metadata, end: uint32(len(data)), ingress: uint32(ifindex)}
	attr := struct {
		fd, verdict, size, sizeOut uint32
		in, out                    unsafe.Pointer
		repeat, duration           uint32
		ctxSize, ctxSizeOut        uint32
		ctxIn, ctxOut              unsafe.Pointer
		_                          [4]uint32 // flags, cpu, batch
	}{
		fd: uint32(p), size: uint32(len(data)), in: unsafe.Pointer(&data[0]), repeat: 1,
		ctxSize: uint32(unsafe.Sizeof(ctx)), ctxIn: unsafe.Pointer(&ctx),
	}
	if _, err := bpf(unix.BPF_PROG_TEST_RUN, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("running the program on a frame: %w", err)
	}
	return nil
}

// bpf is the system call. It is made again where a signal cut it short: Go sends many.
func bpf(command int, attr unsafe.Pointer, size uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), size)
		runtime.KeepAlive(attr)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EAGAIN, unix.EINTR:
		default:
			return -1, errno
		}
	}
}
