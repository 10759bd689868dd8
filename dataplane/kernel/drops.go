package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/pointsman/pointsman/dataplane"
)

// watchLasts is for how many seconds the program tells of drops to a daemon that
// may have died.
const watchLasts = 3

// drops are what the program tells of packets that it drops or holds.
type drops struct {
	reader   *ringbuf.Reader
	record   ringbuf.Record
	budget   *ebpf.Map
	until    *uint32 // shared with the program
	noted    *watching
	outcomes []string
	booted   time.Time
}

// watching is until which second drops are watched, by what was written last. The
// lock is held while it is.
type watching struct {
	sync.Mutex
	until uint32
}

// WatchDrops opens the ring of drops, and has the program tell of none. It must be
// closed before the data plane is.
func (d *DataPlane) WatchDrops() (dataplane.Drops, error) {
	reader, err := ringbuf.NewReader(d.objects.Drops)
	if err != nil {
		return nil, fmt.Errorf("opening the ring of drops: %w", err)
	}
	w := &drops{
		reader: reader, budget: d.objects.DropBudget, until: &d.mapped.switches.WatchDrops, noted: &d.watching,
		outcomes: d.outcomes, booted: booted(),
	}
	return w, w.Watch(false)
}

func (d *drops) Watch(on bool) error {
	var until uint32
	if on {
		until = uint32(time.Since(d.booted)/time.Second) + watchLasts
	}
	d.noted.Lock()
	defer d.noted.Unlock()
	d.noted.until = until
	atomic.StoreUint32(d.until, until)
	return nil
}

func (d *drops) Read(deadline time.Time) (dataplane.Dropped, error) {
	d.reader.SetDeadline(deadline)
	err := d.reader.ReadInto(&d.record)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return dataplane.Dropped{}, os.ErrDeadlineExceeded
	case errors.Is(err, ringbuf.ErrClosed):
		return dataplane.Dropped{}, dataplane.ErrClosed
	case err != nil:
		return dataplane.Dropped{}, fmt.Errorf("reading drops: %w", err)
	}
	var told lbDrop
	if _, err := binary.Decode(d.record.RawSample, binary.NativeEndian, &told); err != nil {
		return dataplane.Dropped{}, fmt.Errorf("reading a drop: %w", err)
	}
	return d.decode(told), nil
}

func (d *drops) decode(told lbDrop) dataplane.Dropped {
	dropped := dataplane.Dropped{
		At: d.booted.Add(time.Duration(told.Ns)), Interface: told.Ifindex, Length: int(told.Length),
		Protocol:    dataplane.Protocol(told.Protocol),
		Source:      decodeEnd(told.Source, told.SourcePort),
		Destination: decodeEnd(told.Destination, told.DestinationPort),
		Outcome:     d.outcomes[told.Outcome],
	}
	for _, tag := range told.Vlan {
		if id := int(tag & 0xfff); id != 0 {
			dropped.VLAN = append(dropped.VLAN, id)
		}
	}
	return dropped
}

// decodeEnd is not valid where the header was not read.
func decodeEnd(address lbAddress, port uint16) netip.AddrPort {
	if address.Word == ([4]uint32{}) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(decodeAddress(address), decodePort(port))
}

func (d *drops) Untold() (sum uint64, err error) {
	var perCPU []lbDropBudget
	if err := d.budget.Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("reading how many drops were not told of: %w", err)
	}
	for _, budget := range perCPU {
		sum += budget.Untold
	}
	return sum, nil
}

func (d *drops) Close() error { return errors.Join(d.Watch(false), d.reader.Close()) }
