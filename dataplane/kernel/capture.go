package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/perf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// CaptureOptions say what to capture of the program that runs by the pins in
// PinDir.
type CaptureOptions struct {
	PinDir    string
	Interface uint32 // ifindex of arrival; 0 is any
	Filter    dataplane.PacketFilter
	Snaplen   uint32 // bytes of a frame, at most MaxSnaplen
}

// MaxSnaplen is what fits a record of a perf ring, whose size has 16 bits.
const MaxSnaplen = 65000

// Capture sees packets before and after the running program, which shows them
// until Stop, or some seconds longer if the process dies.
type Capture struct {
	pins     pins
	program  ebpf.ProgramID
	outcomes []string
	wish     *ebpf.Map
	atWork   *ebpf.Map
	wished   lbCaptureWish
	reader   *perf.Reader
	booted   time.Time
	record   perf.Record
	lost     uint64 // before it began
}

// ErrNotRunning says that there is no program to look at.
var ErrNotRunning = errors.New("the program is on no interface")

// ErrCaptured says that another capture is at work.
var ErrCaptured = errors.New("somebody else captures already, and there can be one at a time")

// What a CPU's ring holds, and how much of that is waited for before it is read:
// an interrupt for each packet would cost more than the rest.
const (
	captureRing      = 2 << 20
	captureWatermark = captureRing / 16
)

// OpenCapture begins to capture. Packets are kept in a ring a CPU until Read;
// Renew must be called every second.
func OpenCapture(o CaptureOptions) (*Capture, error) {
	c := &Capture{pins: pins{dir: o.PinDir}, booted: booted(), wished: captureWish(o)}
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Capture) open() error {
	program, err := c.pins.running()
	if err != nil {
		return err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return fmt.Errorf("looking at the running program: %w", err)
	}
	c.program, _ = info.ID()
	if c.outcomes, err = outcomesOf(program); err != nil {
		return err
	}
	maps, err := mapsOf(info, lbMapFrames, lbMapAtWork, captureWishMap)
	if err != nil {
		return err
	}
	defer maps[lbMapFrames].Close()
	c.wish, c.atWork = maps[captureWishMap], maps[lbMapAtWork]
	var before lbCaptureWish
	if err := c.wish.Lookup(uint32(0), &before); err != nil {
		return fmt.Errorf("looking whether somebody captures: %w", err)
	}
	if before.Until > c.second() {
		return ErrCaptured
	}
	c.reader, err = perf.NewReaderWithOptions(maps[lbMapFrames], captureRing, perf.ReaderOptions{Watermark: captureWatermark})
	if err != nil {
		return fmt.Errorf("making rings for packets: %w", err)
	}
	if c.lost, err = c.countLost(); err != nil {
		return err
	}
	return c.Renew()
}

// wishLasts is for how many seconds the program shows packets to a process that
// may have died.
const wishLasts = 5

// Renew has the capture go on for some seconds.
func (c *Capture) Renew() error {
	c.wished.Until = c.second() + wishLasts
	return c.write()
}

// Stop has the program show no more packets. What it has shown can still be read.
func (c *Capture) Stop() error {
	c.wished.Until = 0
	return c.write()
}

func (c *Capture) write() error {
	if err := c.wish.Put(uint32(0), c.wished); err != nil {
		return fmt.Errorf("telling the program what to capture: %w", err)
	}
	return nil
}

// second is that of the clock that the program reads.
func (c *Capture) second() uint32 { return uint32(time.Since(c.booted) / time.Second) }

// running is the program that is attached to the interfaces.
func (p pins) running() (*ebpf.Program, error) {
	attached, err := p.attached()
	if err != nil {
		return nil, err
	}
	if len(attached) == 0 {
		return nil, fmt.Errorf("%w that is pinned under %s", ErrNotRunning, p.dir)
	}
	program, err := ebpf.NewProgramFromID(attached[0].program)
	if err != nil {
		return nil, fmt.Errorf("opening the running program: %w", explainLoad(err))
	}
	return program, nil
}

// attached is one interface with the program that is on it.
type attached struct {
	ifindex uint32
	program ebpf.ProgramID
}

func (p pins) attached() ([]attached, error) {
	entries, err := os.ReadDir(p.links())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listing the pinned links: %w", err)
	}
	var all []attached
	for _, entry := range entries {
		pinned, err := link.LoadPinnedLink(p.link(strings.ReplaceAll(entry.Name(), ":", ".")), nil)
		if err != nil {
			return nil, fmt.Errorf("opening the pinned link of %s: %w", entry.Name(), explainLoad(err))
		}
		info, err := pinned.Info()
		pinned.Close()
		if err != nil {
			return nil, fmt.Errorf("looking at the pinned link of %s: %w", entry.Name(), err)
		}
		// A link whose interface is gone has no index.
		if xdp := info.XDP(); xdp != nil && xdp.Ifindex != 0 {
			all = append(all, attached{xdp.Ifindex, info.Program})
		}
	}
	return all, nil
}

// captureWishMap is the section of the program's variable.
const captureWishMap = ".data.capture"

// mapsOf opens maps of a program by their names.
func mapsOf(program *ebpf.ProgramInfo, names ...string) (map[string]*ebpf.Map, error) {
	ids, _ := program.MapIDs()
	found := map[string]*ebpf.Map{}
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			closeMaps(found)
			return nil, fmt.Errorf("opening the maps of the running program: %w", explainLoad(err))
		}
		info, err := m.Info()
		if err == nil && slices.Contains(names, info.Name) {
			found[info.Name] = m
		} else {
			m.Close()
		}
	}
	if len(found) < len(names) {
		closeMaps(found)
		return nil, errors.New("the running program is of a version that cannot be captured; start the daemon anew with this one")
	}
	return found, nil
}

// outcomesOf are the names by the running program's own types: it may be another
// version's than this process.
func outcomesOf(program *ebpf.Program) ([]string, error) {
	handle, err := program.Handle()
	if err != nil {
		return nil, fmt.Errorf("opening the running program's types: %w", explainLoad(err))
	}
	defer handle.Close()
	types, err := handle.Spec(nil)
	if err != nil {
		return nil, fmt.Errorf("reading the running program's types: %w", err)
	}
	return outcomeNames(types)
}

func captureWish(o CaptureOptions) lbCaptureWish {
	wish := lbCaptureWish{Ifindex: o.Interface, Snaplen: min(o.Snaplen, MaxSnaplen)}
	wish.Vip.Address.Word, wish.Vip.Mask.Word = encodeRange(o.Filter.VIP)
	wish.Client.Address.Word, wish.Client.Mask.Word = encodeRange(o.Filter.Client)
	wish.VipPort, wish.VipProtocol = encodePort(o.Filter.Port), uint8(o.Filter.Protocol)
	return wish
}

// Replaced tells whether another program has taken the place of the one that is
// captured, as when a daemon of another version is started.
func (c *Capture) Replaced() (bool, error) {
	attached, err := c.pins.attached()
	if err != nil {
		return false, err
	}
	for _, a := range attached {
		if a.program == c.program {
			return false, nil
		}
	}
	return true, nil
}

// Interfaces are those that the program is on, by index.
func (c *Capture) Interfaces() ([]uint32, error) {
	attached, err := c.pins.attached()
	var all []uint32
	for _, a := range attached {
		all = append(all, a.ifindex)
	}
	return all, err
}

// Lost is how many records found no room in their ring.
func (c *Capture) Lost() (uint64, error) {
	lost, err := c.countLost()
	return lost - c.lost, err
}

func (c *Capture) countLost() (sum uint64, err error) {
	var perCPU []lbAtWork
	if err := c.atWork.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("reading how many packets were lost to the capture: %w", err)
	}
	for _, here := range perCPU {
		sum += here.Lost
	}
	return sum, nil
}

// Read waits until the deadline for a record. Its frame is void at the next
// Read. The error is os.ErrDeadlineExceeded when all records have been read,
// those of before the deadline included.
func (c *Capture) Read(deadline time.Time) (dataplane.Captured, error) {
	c.reader.SetDeadline(deadline)
	for {
		if err := c.reader.ReadInto(&c.record); err != nil {
			return dataplane.Captured{}, err
		}
		if c.record.LostSamples == 0 { // which the program has counted
			return c.decode()
		}
	}
}

func (c *Capture) decode() (dataplane.Captured, error) {
	const head = int(unsafe.Sizeof(lbCaptured{}))
	sample := c.record.RawSample
	if len(sample) < head {
		return dataplane.Captured{}, fmt.Errorf("a record of %d bytes is too short", len(sample))
	}
	about := *(*lbCaptured)(unsafe.Pointer(unsafe.SliceData(sample)))
	seen := dataplane.Captured{
		CPU: c.record.CPU, Number: about.Number, Gone: about.Gone != 0,
		At:        c.booted.Add(time.Duration(about.Ns)),
		Interface: about.Ifindex, Queue: about.Queue, Length: int(about.Length),
	}
	if seen.Gone {
		seen.Verdict, seen.Outcome = dataplane.Verdict(about.Verdict), c.outcomes[about.Outcome]
	}
	if !seen.Gone || seen.Verdict.Leaves() {
		// What is beyond is padding of the ring.
		seen.Frame = sample[head:min(len(sample), head+min(seen.Length, int(c.wished.Snaplen)))]
	}
	return seen, nil
}

// Close ends it. Doing it again does no harm.
func (c *Capture) Close() error {
	var failures []error
	if c.reader != nil {
		failures = append(failures, c.Stop(), c.reader.Close())
	}
	for _, m := range []*ebpf.Map{c.wish, c.atWork} {
		failures = append(failures, m.Close())
	}
	c.reader, c.wish, c.atWork = nil, nil, nil
	return errors.Join(failures...)
}

// booted is when the clock of the programs stood at zero.
func booted() time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(fmt.Sprintf("reading the monotonic clock: %v", err)) // it has no way to fail
	}
	return time.Now().Add(-time.Duration(now.Nano()))
}
