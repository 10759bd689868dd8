package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// arrivals watches a host's interfaces for packets in an IPIP tunnel, by the time
// that the kernel stamps on them.
type arrivals struct {
	socket *os.File
	at     atomic.Int64 // of the last, in ns since 1970
	failed chan error
}

func watchArrivals(at *lab.Host) (*arrivals, error) {
	var fd int
	err := at.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(networkOrder(unix.ETH_P_IP)))
		return err
	})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for packets on %s: %w", at.Name, err)
	}
	a := &arrivals{socket: os.NewFile(uintptr(fd), "packets"), failed: make(chan error, 1)}
	go a.watch(fd)
	return a, nil
}

func networkOrder(number uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, number))
}

// watch ends when the socket is closed.
func (a *arrivals) watch(fd int) {
	raw, err := a.socket.SyscallConn()
	if err != nil {
		a.failed <- err
		return
	}
	packet, control := make([]byte, 64), make([]byte, 128)
	for {
		var n, controls int
		var failure error
		err := raw.Read(func(uintptr) bool {
			n, controls, _, _, failure = unix.Recvmsg(fd, packet, control, unix.MSG_TRUNC)
			return !errors.Is(failure, unix.EAGAIN)
		})
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err = errors.Join(err, failure); err != nil {
			a.failed <- fmt.Errorf("receiving packets: %w", err)
			return
		}
		const protocolAt = 9
		if n > protocolAt && packet[protocolAt] == unix.IPPROTO_IPIP {
			a.note(control[:controls])
		}
	}
}

func (a *arrivals) note(control []byte) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return
	}
	for _, m := range messages {
		if m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			a.at.Store((*unix.Timespec)(unsafe.Pointer(unsafe.SliceData(m.Data))).Nano())
		}
	}
}

func (a *arrivals) last() time.Time { return time.Unix(0, a.at.Load()) }

func (a *arrivals) Close() error { return a.socket.Close() }
