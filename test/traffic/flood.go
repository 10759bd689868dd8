package traffic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/test/lab"
)

// FloodNet is where the SYNs of a flood come from: addresses for benchmarks (RFC
// 2544) that nobody has.
var FloodNet = netip.MustParsePrefix("198.18.0.0/15")

// Flood is SYNs without end, each of another source address and port, so that
// each is a new flow.
type Flood struct {
	From    *lab.Host
	To      netip.AddrPort // IPv4
	Rate    int            // a second, at most; 0 is as many as go
	Workers int            // senders at a time; 0 is 1
	Packets uint64         // it ends when each sender has sent so many; 0 is never
	// Until, of one worker, has it wait after some packets until they have come: so
	// the network has never more under way than it can hold, and none is lost there.
	Until *Arrivals
}

const (
	synBytes   = 40 // IPv4 and TCP without options
	floodBatch = 64 // packets a call of the kernel
	floodBits  = 17 + 16
)

// Run sends until the context ends, or all are sent, and returns how many were. No two of
// them are of one flow, up to 2^33.
func (f Flood) Run(ctx context.Context) (sent uint64, err error) {
	f.Workers = max(f.Workers, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sum atomic.Uint64
	var workers errgroup.Group
	for first := range f.Workers {
		workers.Go(func() error {
			defer cancel() // one that fails ends the others
			sent, err := f.send(ctx, uint64(first))
			sum.Add(sent)
			return err
		})
	}
	err = workers.Wait()
	return sum.Load(), err
}

// send sends every so manieth flow from the first on.
func (f Flood) send(ctx context.Context, first uint64) (sent uint64, err error) {
	var fd int
	if err := f.From.Do(func() error { fd, err = f.open(); return err }); err != nil {
		return 0, fmt.Errorf("opening a socket for a flood: %w", err)
	}
	defer unix.Close(fd)
	b, began, workers := f.newBatch(), time.Now(), uint64(f.Workers)
	for ctx.Err() == nil && (f.Packets == 0 || sent < f.Packets) {
		for i := range b.packets {
			n := first + (sent+uint64(i))*workers
			// An odd factor goes through all flows before it meets one again.
			b.packets[i].stamp(n * 0x9e3779b97f4a7c15 & (1<<floodBits - 1))
		}
		n, err := b.send(fd)
		sent += uint64(n)
		if err != nil {
			return sent, fmt.Errorf("sending SYN %d of a flood: %w", sent+1, err)
		}
		if f.Until != nil {
			if err := f.Until.await(sent); err != nil {
				return sent, err
			}
		}
		if f.Rate > 0 {
			pause(ctx, time.Until(began.Add(time.Duration(sent*workers)*time.Second/time.Duration(f.Rate))))
		}
	}
	return sent, nil
}

func (f Flood) open() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return -1, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: f.To.Addr().As4()}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// syn is one packet.
type syn [synBytes]byte

// stamp makes it the nth flow's.
func (s *syn) stamp(n uint64) {
	base := FloodNet.Addr().As4()
	binary.BigEndian.PutUint32(s[12:], binary.BigEndian.Uint32(base[:])|uint32(n>>16)&(1<<17-1))
	binary.BigEndian.PutUint16(s[20:], uint16(n))
	binary.BigEndian.PutUint16(s[36:], 0)
	// RFC 9293, section 3.1: over the addresses, the protocol, the length and the segment.
	sum := uint32(unix.IPPROTO_TCP + synBytes - 20)
	for i := 12; i < synBytes; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(s[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(s[36:], ^uint16(sum>>16+sum))
}

// batch is what one call of sendmmsg(2) sends.
type batch struct {
	packets  [floodBatch]syn
	vectors  [floodBatch]unix.Iovec
	messages [floodBatch]struct {
		header unix.Msghdr
		sent   uint32
	}
}

func (f Flood) newBatch() *batch {
	b := &batch{}
	for i := range b.packets {
		p := &b.packets[i]
		p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_TCP // the kernel fills in length and checksum
		to := f.To.Addr().As4()
		copy(p[16:], to[:])
		binary.BigEndian.PutUint16(p[22:], f.To.Port())
		p[32], p[33] = 5<<4, 2 // five words; SYN
		binary.BigEndian.PutUint16(p[34:], 0xffff)
		b.vectors[i].Base = &p[0]
		b.vectors[i].SetLen(synBytes)
		b.messages[i].header.Iov = &b.vectors[i]
		b.messages[i].header.SetIovlen(1)
	}
	return b
}

// send returns how many the kernel took. It may take none where the network
// cannot keep up.
func (b *batch) send(fd int) (int, error) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), floodBatch, 0, 0, 0)
	runtime.KeepAlive(b)
	switch {
	case errno == 0:
		return int(n), nil
	case errors.Is(errno, unix.ENOBUFS), errors.Is(errno, unix.EINTR), errors.Is(errno, unix.EAGAIN):
		return 0, nil
	}
	return 0, errno
}
