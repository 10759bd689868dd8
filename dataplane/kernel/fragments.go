package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// fragmentSeconds is for how long the program goes by a first fragment; one more
// here would only let a fragment leave too soon.
const fragmentSeconds = 9

// heldBytes is what each CPU can hand over between two reads: some 150 whole
// frames. More is dropped by the program, by name.
const heldBytes = 256 << 10

// fragments are what the program hands over. The kernel takes the buffers away
// with the process, so that a program whose daemon has died drops by name.
type fragments struct {
	reader  *perf.Reader
	table   *ebpf.Map
	program *ebpf.Program
	mark    uint64
}

// HoldFragments opens buffers for fragments that come before their first. They
// must be closed before the data plane is.
func (d *DataPlane) HoldFragments() (dataplane.Fragments, error) {
	if err := checkLiveFrames(); err != nil {
		return nil, err
	}
	reader, err := perf.NewReader(d.objects.HeldFragments, heldBytes)
	if err != nil {
		return nil, fmt.Errorf("opening buffers for fragments: %w", err)
	}
	return &fragments{reader: reader, table: d.objects.Fragments, program: d.objects.PointsmanLb, mark: d.heldMark}, nil
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
		record, err := f.reader.Read()
		if errors.Is(err, perf.ErrClosed) {
			return dataplane.Fragment{}, dataplane.ErrClosed
		}
		if err != nil {
			return dataplane.Fragment{}, fmt.Errorf("reading held fragments: %w", err)
		}
		if fragment, ok := decodeFragment(record.RawSample); ok {
			return fragment, nil
		}
	}
}

// decodeFragment leaves out records that say how many were lost: the program has
// counted those.
func decodeFragment(sample []byte) (dataplane.Fragment, bool) {
	var held lbHeldFragment
	size, err := binary.Decode(sample, binary.NativeEndian, &held)
	if err != nil || size+int(held.Size) > len(sample) {
		return dataplane.Fragment{}, false
	}
	return dataplane.Fragment{
		Key:       string(sample[:binary.Size(held.Key)]),
		Interface: held.Ifindex,
		Frame:     bytes.Clone(sample[size:][:held.Size]),
	}, true
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

func (f *fragments) Close() error { return f.reader.Close() }
