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
	"github.com/cilium/ebpf/ringbuf"
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

// MaxSnaplen is as much of a frame as the program copies.
const MaxSnaplen = len(lbAtWork{}.Frame)

// Capture sees packets before and after the running program, which shows them
// until Stop, or some seconds longer if the process dies.
type Capture struct {
	pins     pins
	program  ebpf.ProgramID
	outcomes []string
	wish     *ebpf.Map
	atWork   *ebpf.Map
	wished   lbCaptureWish
	reader   *ringbuf.Reader
	booted   time.Time
	record   ringbuf.Record
	lost     uint64        // before it began
	began    time.Duration // by the clock of the programs
}

// ErrNotRunning says that there is no program to look at.
var ErrNotRunning = errors.New("the program is on no interface")

// ErrCaptured says that another capture is at work.
var ErrCaptured = errors.New("somebody else captures already, and there can be one at a time")

// OpenCapture begins to capture. Packets are kept in a ring until Read; Renew must be
// called every second. It opens what is pinned and nothing by id, so that CAP_BPF
// suffices for whoever may read the pins.
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
	if c.outcomes, err = c.pins.outcomes(); err != nil {
		return err
	}
	maps, err := c.pins.shownBy(info)
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
	c.began = time.Since(c.booted)
	if c.reader, err = ringbuf.NewReader(maps[lbMapFrames]); err != nil {
		return fmt.Errorf("opening the ring of packets: %w", err)
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
	all, err := p.attached()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w that is pinned under %s", ErrNotRunning, p.dir)
	}
	program, err := ebpf.LoadPinnedProgram(p.program(), nil)
	if err != nil {
		return nil, fmt.Errorf("opening the pinned program: %w", explainLoad(err))
	}
	if id := idOf(program); !slices.ContainsFunc(all, func(on attached) bool { return on.program == id }) {
		program.Close()
		return nil, fmt.Errorf("the program pinned at %s is on no interface: start the daemon, which mends that", p.program())
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

// errOtherVersion says that the maps are not as this process knows them.
var errOtherVersion = errors.New("the running program is of a version that cannot be captured; start the daemon anew with this one")

// shownBy opens the pinned maps in which a program shows packets.
func (p pins) shownBy(program *ebpf.ProgramInfo) (map[string]*ebpf.Map, error) {
	own, _ := program.MapIDs()
	found := map[string]*ebpf.Map{}
	for name, size := range map[string]uintptr{
		lbMapFrames: 0, lbMapAtWork: unsafe.Sizeof(lbAtWork{}), captureWishMap: unsafe.Sizeof(lbCaptureWish{}),
	} {
		m, err := ebpf.LoadPinnedMap(p.captured(name), nil)
		if err == nil {
			found[name] = m
			err = isPartOf(own, m, size)
		}
		if errors.Is(err, os.ErrNotExist) {
			err = errOtherVersion
		}
		if err != nil {
			closeMaps(found)
			return nil, fmt.Errorf("opening the pinned map %s: %w", name, explainLoad(err))
		}
	}
	return found, nil
}

// isPartOf says whether a map is a program's, with values of a size.
func isPartOf(own []ebpf.MapID, m *ebpf.Map, size uintptr) error {
	info, err := m.Info()
	if err != nil {
		return err
	}
	if id, _ := info.ID(); !slices.Contains(own, id) || uintptr(m.ValueSize()) != size {
		return errOtherVersion
	}
	return nil
}

// outcomes are the names by the running program's own notes: it may be another
// version's than this process.
func (p pins) outcomes() ([]string, error) {
	running, err := openPinned(p.maps())
	if err != nil {
		return nil, err
	}
	if running == nil {
		return nil, fmt.Errorf("%s is empty: start the daemon, which mends that", p.maps())
	}
	defer running.close()
	return running.outcomes, nil
}

func captureWish(o CaptureOptions) lbCaptureWish {
	wish := lbCaptureWish{Ifindex: o.Interface, Snaplen: min(o.Snaplen, uint32(MaxSnaplen))}
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
		// A process that died may have left some unread.
		if seen, err := c.decode(); err != nil || seen.At.Sub(c.booted) >= c.began {
			return seen, err
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
		CPU: int(about.Cpu), Number: about.Number, Gone: about.Gone != 0,
		At:        c.booted.Add(time.Duration(about.Ns)),
		Interface: about.Ifindex, Queue: about.Queue, Length: int(about.Length),
	}
	if seen.Gone {
		seen.Verdict, seen.Outcome = dataplane.Verdict(about.Verdict), c.outcomes[about.Outcome]
	}
	if !seen.Gone || seen.Verdict.Leaves() {
		seen.Frame = sample[head:]
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
