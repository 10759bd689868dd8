package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loadPass loads an XDP program that passes every frame, for the ports of
// switches. It is two instructions, which is no reason to hold the data plane's
// loader in a lab that judges it.
func loadPass() (fd int, err error) {
	program := [2]uint64{
		0x00000002_0000_00_b7, // r0 = XDP_PASS
		0x00000000_0000_00_95, // exit
	}
	license := [1]byte{}
	// The beginning of union bpf_attr for BPF_PROG_LOAD, linux/bpf.h. A link takes
	// another program only if that says where it is to be attached.
	attr := struct {
		kind, instructions uint32
		program, license   unsafe.Pointer
		unused             [11]uint32
		attach             uint32
	}{
		kind: unix.BPF_PROG_TYPE_XDP, instructions: uint32(len(program)),
		program: unsafe.Pointer(&program), license: unsafe.Pointer(&license), attach: unix.BPF_XDP,
	}
	fd, err = bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(&program)
	runtime.KeepAlive(&license)
	if err != nil {
		return -1, fmt.Errorf("loading an XDP program that passes everything: %w", err)
	}
	return fd, nil
}
