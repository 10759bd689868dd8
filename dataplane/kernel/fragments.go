package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// fragmentSeconds is for how long the program goes by a first fragment; one more
// here would only let a fragment leave too soon.
const fragmentSeconds = 9

// holdLasts is for how many seconds the program hands fragments over to a daemon
// that may have died.
const holdLasts = 3

// fragments are what the program hands over; what its ring has no room for it drops
// by name, as it does when nobody has said for some seconds that they are read.
type fragments struct {
	reader  *ringbuf.Reader
	record  ringbuf.Record
	until   *ebpf.Variable
	renewed time.Time
	closing sync.Mutex
	closed  bool
	table   *ebpf.Map
	program *ebpf.Program
	mark    uint64
}

// HoldFragments has fragments that come before their first handed over. It must be
// closed before the data plane is.
func (d *DataPlane) HoldFragments() (dataplane.Fragments, error) {
	if err := checkLiveFrames(); err != nil {
		return nil, err
	}
	reader, err := ringbuf.NewReader(d.objects.HeldFragments)
	if err != nil {
		return nil, fmt.Errorf("opening the ring of fragments: %w", err)
	}
	f := &fragments{
		reader: reader, until: d.objects.HoldUntil,
		table: d.objects.Fragments, program: d.objects.PointsmanLb, mark: d.heldMark,
	}
	return f, f.renew()
}

// renew has the program hand over for some seconds more.
func (f *fragments) renew() error {
	f.renewed = time.Now()
	return f.hold(monotonicSecond() + holdLasts)
}

func (f *fragments) hold(until uint32) error {
	f.closing.Lock()
	defer f.closing.Unlock()
	if f.closed {
		until = 0
	}
	if err := f.until.Set(until); err != nil {
		return fmt.Errorf("telling the program until when to hold fragments: %w", err)
	}
	return nil
}

// xdpContext is struct xdp_md of linux/bpf.h.
type xdpContext struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// live are options under which the kernel does with a frame what the program says
// (BPF_F_TEST_XDP_LIVE_FRAMES). BatchSize is unknown to older kernels, which would
// otherwise run the program and do nothing.
func live(frame []byte, context any) *ebpf.RunOptions {
	return &ebpf.RunOptions{Data: frame, Context: context, Repeat: 1, BatchSize: 1, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}
}

// checkLiveFrames tries with a program that drops whatever it gets.
func checkLiveFrames() error {
	drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("loading a program that drops: %w", err)
	}
	defer drop.Close()
	if _, err := drop.Run(live(make([]byte, 64), nil)); err != nil {
		return dataplane.ErrCannotHold
	}
	return nil
}

func (f *fragments) Read() (dataplane.Fragment, error) {
	for {
		if time.Since(f.renewed) >= time.Second {
			if err := f.renew(); err != nil {
				return dataplane.Fragment{}, err
			}
		}
		fragment, err := f.readUntil(f.renewed.Add(time.Second))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fragment, err
		}
	}
}

// readUntil says os.ErrDeadlineExceeded once all have been read.
func (f *fragments) readUntil(deadline time.Time) (dataplane.Fragment, error) {
	f.reader.SetDeadline(deadline)
	err := f.reader.ReadInto(&f.record)
	switch {
	case errors.Is(err, ringbuf.ErrClosed):
		return dataplane.Fragment{}, dataplane.ErrClosed
	case err != nil:
		return dataplane.Fragment{}, fmt.Errorf("reading held fragments: %w", err)
	}
	return decodeFragment(f.record.RawSample)
}

func decodeFragment(sample []byte) (dataplane.Fragment, error) {
	var held lbHeldFragment
	size, err := binary.Decode(sample, binary.NativeEndian, &held)
	if err != nil || size+int(held.Size) > len(sample) {
		return dataplane.Fragment{}, fmt.Errorf("reading a held fragment: a record of %d bytes is too short", len(sample))
	}
	return dataplane.Fragment{
		Key:       string(sample[:binary.Size(held.Key)]),
		Interface: held.Ifindex,
		Frame:     bytes.Clone(sample[size:][:held.Size]),
	}, nil
}

func (f *fragments) FirstHasCome(key string) (bool, error) {
	var way lbFragmentWay
	err := f.table.Lookup([]byte(key), &way)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking for a first fragment: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		return false, fmt.Errorf("reading the clock: %w", err)
	}
	return uint32(now.Sec)-way.Second <= fragmentSeconds, nil
}

func (f *fragments) SendAgain(held dataplane.Fragment) error {
	frame := append(binary.NativeEndian.AppendUint64(nil, f.mark), held.Frame...)
	context := xdpContext{Data: 8, DataEnd: uint32(len(frame)), IngressIfindex: held.Interface}
	if _, err := f.program.Run(live(frame, context)); err != nil {
		return fmt.Errorf("sending a fragment again: %w", err)
	}
	return nil
}

// Close may be called while Read waits.
func (f *fragments) Close() error {
	f.closing.Lock()
	f.closed = true
	f.closing.Unlock()
	return errors.Join(f.hold(0), f.reader.Close())
}
