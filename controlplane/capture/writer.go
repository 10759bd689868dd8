// Package capture writes what was seen of packets, before and after the program,
// as a pcapng file, which Wireshark and tcpdump open.
package capture

import (
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pointsman/pointsman/dataplane"
)

// Options say what the file tells of itself.
type Options struct {
	Version string
	Filter  string // in words; "" is everything
	Snaplen uint32
	Name    func(ifindex uint32) string
}

// Writer writes a packet once it is known what became of it: so the record of
// its arrival says it, too. Each pair of interface and direction is one of the
// file's interfaces.
type Writer struct {
	options    Options
	file       *pcapgo.NgWriter
	interfaces map[side]int
	waiting    map[int]dataplane.Captured // by CPU: arrived, and not yet through
	packets    int
}

// side is one direction of one interface.
type side struct {
	ifindex uint32
	out     bool
}

// NewWriter begins a file. The interfaces are known to it even if nothing
// arrives by them.
func NewWriter(w io.Writer, o Options, interfaces []uint32) (*Writer, error) {
	c := &Writer{options: o, interfaces: map[side]int{}, waiting: map[int]dataplane.Captured{}}
	section := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{
		Hardware: runtime.GOARCH, OS: runtime.GOOS, Application: "pointsman " + o.Version,
	}}
	var first side
	if len(interfaces) > 0 {
		first.ifindex = interfaces[0]
	}
	var err error
	if c.file, err = pcapgo.NewNgWriterInterface(w, c.describe(first), section); err != nil {
		return nil, fmt.Errorf("beginning the capture: %w", err)
	}
	c.interfaces[first] = 0
	for _, index := range interfaces {
		for _, out := range []bool{false, true} {
			if _, err := c.id(side{index, out}); err != nil {
				return nil, err
			}
		}
	}
	return c, c.file.Flush()
}

func (c *Writer) describe(s side) pcapgo.NgInterface {
	name := c.options.Name(s.ifindex)
	i := pcapgo.NgInterface{
		Name: name + " in", Description: "frames that arrive by " + name + ", as the program finds them",
		Filter: c.options.Filter, OS: runtime.GOOS, LinkType: layers.LinkTypeEthernet, SnapLength: c.options.Snaplen,
	}
	if s.out {
		i.Name, i.Description = name+" out", "frames that the program sends out of "+name
	}
	return i
}

func (c *Writer) id(s side) (int, error) {
	if id, known := c.interfaces[s]; known {
		return id, nil
	}
	id, err := c.file.AddInterface(c.describe(s))
	if err != nil {
		return 0, fmt.Errorf("writing the capture: %w", err)
	}
	c.interfaces[s] = id
	return id, nil
}

// Packets is how many packets have been written; one that arrived and left is
// one.
func (c *Writer) Packets() int { return c.packets }

// Take is given all that is seen, in the order of each CPU. It keeps nothing of
// the frame but a copy.
func (c *Writer) Take(seen dataplane.Captured) error {
	arrived, waits := c.waiting[seen.CPU]
	if !seen.Gone {
		seen.Frame = slices.Clone(seen.Frame)
		c.waiting[seen.CPU] = seen
		if waits {
			return c.writeUndecided(arrived)
		}
		return nil
	}
	if !waits || arrived.Number != seen.Number {
		return nil // of a packet whose arrival was written as lost
	}
	delete(c.waiting, seen.CPU)
	c.packets++
	became := pcapgo.NgPacketOptions{
		Comments: []string{seen.Outcome + ", " + seen.Verdict.String()},
		Verdicts: []pcapgo.NgEpbVerdict{{
			Type: pcapgo.NgEpbVerdictTypeLinuxeBPFXDP, Data: binary.LittleEndian.AppendUint64(nil, uint64(seen.Verdict)),
		}},
	}
	if err := c.write(arrived, false, became); err != nil {
		return err
	}
	if !seen.Verdict.Leaves() {
		return nil
	}
	return c.write(seen, true, became)
}

// writeUndecided writes a packet that was seen to arrive only.
func (c *Writer) writeUndecided(arrived dataplane.Captured) error {
	c.packets++
	return c.write(arrived, false, pcapgo.NgPacketOptions{Comments: []string{"what became of it was lost to the capture"}})
}

func (c *Writer) write(seen dataplane.Captured, out bool, o pcapgo.NgPacketOptions) error {
	id, err := c.id(side{seen.Interface, out})
	if err != nil {
		return err
	}
	// Numbers are a CPU's own; with its number above them they are the file's.
	number := uint64(seen.CPU)<<48 | seen.Number
	o.PacketID, o.Queue = &number, &seen.Queue
	o.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if out {
		o.Flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	info := gopacket.CaptureInfo{
		Timestamp: seen.At, CaptureLength: len(seen.Frame), Length: max(seen.Length, len(seen.Frame)), InterfaceIndex: id,
	}
	if err := c.file.WritePacketWithOptions(info, seen.Frame, o); err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	return nil
}

// Flush lets readers of the file see what was taken.
func (c *Writer) Flush() error {
	if err := c.file.Flush(); err != nil {
		return fmt.Errorf("writing the capture: %w", err)
	}
	return nil
}

// Close writes what still waits. It does not close the file.
func (c *Writer) Close() error {
	for cpu, arrived := range c.waiting {
		if err := c.writeUndecided(arrived); err != nil {
			return err
		}
		delete(c.waiting, cpu)
	}
	return c.Flush()
}
