package kernel

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// court is where the program and the oracle answer for the same packets.
type court struct {
	plane    *DataPlane
	held     *dataplane.Tables // the kernel's
	oracle   *oracle.Balancer
	dirty    *ebpf.Program
	at       wild.Interfaces
	received []byte
	real     uint32 // the second of the machine's clock
	second   uint32 // the second that packets meet
	skewed   uint32 // what the program was last told to add
	before   dataplane.Counters
	counted  dataplane.Counters // by the oracle
}

// courtSecond is when the first case begins, and betweenCases how long after
// another the next does: all that the kernel remembers of it is over by then,
// but for flows, which are forgotten by hand.
const courtSecond, betweenCases = 5000, 30

// errorsPerSecond is few, so that it is reached.
const errorsPerSecond = 4

// inCourt loads the program once for many cases. All of it stays on one CPU,
// since the program bounds its errors by CPU, and in a namespace of its own.
func inCourt(t testing.TB, hold func(*court)) {
	t.Helper()
	egress := inNamespace(t)
	var one unix.CPUSet
	one.Set(runtime.NumCPU() - 1)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	plane, err := Open(Options{PinDir: pinDir(t), Secret: 42, Limits: wild.Limits, Slots: wild.Slots, Flows: wild.Flows, Errors: errorsPerSecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	hold(&court{
		plane:    plane,
		dirty:    dirtyHeadroom(t, plane.objects.PointsmanLb),
		at:       wild.Interfaces{Loopback: loopback, Egress: egress, Missing: 0x7ffffff},
		second:   courtSecond,
		received: make([]byte, 4096),
	})
}

// enter makes both hold a world and remember nothing.
func (c *court) enter(number uint16) (err error) {
	if c.held, err = c.plane.Tables(); err != nil {
		return err
	}
	if err := c.forget(); err != nil {
		return err
	}
	c.second += betweenCases
	steps := wild.World(number, c.at, c.second)
	if err := dataplane.Apply(c.held, steps, c.plane); err != nil {
		return err
	}
	tables := dataplane.NewTables(wild.Limits, wild.Slots)
	tables.Flows = make(dataplane.Flows, wild.Flows)
	for _, step := range steps {
		step.Replay(tables)
	}
	c.oracle = oracle.New(tables, dataplane.NewHash(42), oracle.Settings{ErrorsPerSecond: errorsPerSecond})
	c.counted = dataplane.Counters{Backends: make(map[uint32]dataplane.BackendCounters), Outcomes: make(map[string]uint64)}
	c.before, err = c.plane.Counters()
	return err
}

// forget makes the kernel's tables empty.
func (c *court) forget() error {
	var steps []dataplane.Step
	for key := range c.held.QUICIDs {
		steps = append(steps, dataplane.DeleteQUICID{Key: key})
	}
	for prefix := range c.held.Prefixes {
		steps = append(steps, dataplane.DeletePrefix{Prefix: prefix})
	}
	for addr := range c.held.Addresses {
		steps = append(steps, dataplane.DeleteAddress{Addr: addr})
	}
	for vip := range c.held.VIPs {
		steps = append(steps, dataplane.DeleteVIP{VIP: vip})
	}
	clear(c.held.Slots)
	clear(c.held.Conditions)
	clear(c.held.Flows)
	return dataplane.Apply(c.held, steps, c.plane)
}

// run gives a frame to the program.
func (c *court) run(frame []byte) (verdict uint32, out []byte, err error) {
	if skew := c.second - c.real; skew != c.skewed {
		if err := c.plane.objects.ClockSkewSeconds.Set(skew); err != nil {
			return 0, nil, err
		}
		c.skewed = skew
	}
	options := ebpf.RunOptions{Data: frame, DataOut: c.received[:cap(c.received)]}
	if verdict, err = c.dirty.Run(&options); err != nil {
		return 0, nil, fmt.Errorf("running %x: %w", frame, err)
	}
	return verdict, options.DataOut, c.readClock()
}

// readClock reads the program's clock, as twins do.
func (c *court) readClock() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		return err
	}
	if uint32(now.Sec) != c.real {
		c.real = uint32(now.Sec)
		return errClockMoved
	}
	return nil
}

// count counts a packet as the program should have.
func (c *court) count(fate oracle.Fate) {
	if fate.Outcome != oracle.Forward {
		c.counted.Outcomes[string(fate.Outcome)]++
		return
	}
	counters := c.counted.Backends[fate.Backend]
	counters.Packets++
	counters.Bytes += uint64(fate.Bytes)
	if fate.NewFlow {
		counters.NewFlows++
	}
	c.counted.Backends[fate.Backend] = counters
}

func (c *court) sameMemory() error {
	tables := c.oracle.Tables
	switch {
	case !slices.Equal(c.held.Conditions, tables.Conditions):
		return fmt.Errorf("the conditions are %d in the kernel, and %d by the oracle", c.held.Conditions, tables.Conditions)
	case !slices.Equal(c.held.Flows, tables.Flows):
		return fmt.Errorf("the flows are %x in the kernel, and %x by the oracle", c.held.Flows, tables.Flows)
	}
	return nil
}

// sameCounters compares what moved since the case began.
func (c *court) sameCounters() error {
	now, err := c.plane.Counters()
	if err != nil {
		return err
	}
	delete(now.Outcomes, "FORWARD") // the sum of the backends
	for name := range now.Outcomes {
		now.Outcomes[name] -= c.before.Outcomes[name]
	}
	for index, counters := range now.Backends {
		before := c.before.Backends[index]
		counters.Packets -= before.Packets
		counters.Bytes -= before.Bytes
		counters.NewFlows -= before.NewFlows
		now.Backends[index] = counters
	}
	maps.DeleteFunc(now.Outcomes, func(_ string, n uint64) bool { return n == 0 })
	maps.DeleteFunc(now.Backends, func(_ uint32, n dataplane.BackendCounters) bool { return n.Packets == 0 })
	now.Flows.Inserted -= c.before.Flows.Inserted
	now.Flows.Evicted -= c.before.Flows.Evicted
	now.Flows.Refused -= c.before.Flows.Refused
	switch {
	case !maps.Equal(now.Outcomes, c.counted.Outcomes):
		return fmt.Errorf("the program counts %v, and the oracle %v", now.Outcomes, c.counted.Outcomes)
	case !maps.Equal(now.Backends, c.counted.Backends):
		return fmt.Errorf("the program counts %v, and the oracle %v", now.Backends, c.counted.Backends)
	case now.Flows != c.oracle.Flows.Events:
		return fmt.Errorf("the flow table counts %+v, and by the oracle %+v", now.Flows, c.oracle.Flows.Events)
	}
	return nil
}
