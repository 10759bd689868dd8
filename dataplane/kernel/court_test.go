package kernel

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// court is where the program and the oracle answer for the same packets.
type court struct {
	clock
	plane    *DataPlane
	second   uint32            // of the latest packet
	held     *dataplane.Tables // the kernel's
	oracle   *oracle.Balancer
	keeper   *keeper
	expected tally                                     // counters, by the oracle
	ways     map[oracle.FragmentKey]oracle.FragmentWay // that the kernel was seen to hold

	space    netns.NsHandle
	at       wild.Interfaces
	numbers  map[oracle.Outcome]int // of the outcomes' counters
	dirty    *ebpf.Program
	mtu      map[uint32]int // of interfaces
	headroom int            // in front of frames, and
	cramped  int            // how little of it can be left
	metadata []byte
	received []byte

	draw    func([]byte, wild.Interfaces) drama // out of dice
	shorten func([]byte, func([]byte) bool) []byte

	promises  *wild.Promises // of the latest case, if it is one of lives
	brokenOff bool           // the last case was not heard to its end
}

// errorsPerSecond is few, so that it is reached.
const errorsPerSecond = 2

// newCourt loads the program once for many cases.
func newCourt(t testing.TB) *court {
	t.Helper()
	egress := inNamespace(t)
	space, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	plane, err := Open(Options{PinDir: pinDir(t), Secret: wild.Secret, Limits: wild.Limits, Slots: wild.Slots, Flows: wild.Flows, Connections: wild.Connections, Errors: errorsPerSecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plane.Close() })
	headroom, metadata := measureHeadroom(t)
	c := &court{
		plane:    plane,
		space:    space,
		at:       wild.Interfaces{Loopback: loopback, Egress: egress, Missing: 0x7ffffff},
		numbers:  make(map[oracle.Outcome]int),
		dirty:    dirtyHeadroom(t, plane.objects.PointsmanLb),
		headroom: headroom,
		cramped:  headroom - metadata,
		metadata: bytes.Repeat([]byte{0xff}, 256),
		received: make([]byte, 4096),
		draw:     drawCase,
		shorten:  wild.Shorten,
		ways:     make(map[oracle.FragmentKey]oracle.FragmentWay),
	}
	for number, name := range plane.outcomes {
		c.numbers[oracle.Outcome(name)] = number
	}
	c.mtu = setMTUs(t, egress)
	c.sit(t)
	c.keeper = newKeeper(t, plane)
	if c.held, err = plane.Tables(); err != nil {
		t.Fatal(err)
	}
	return c
}

// sit ties the test's goroutine to the court's namespace, where its interfaces
// are, and to one CPU, since the program bounds its errors by CPU. A fuzz target
// runs on goroutines of its own.
func (c *court) sit(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	var one unix.CPUSet
	one.Set(runtime.NumCPU() - 1)
	if err := errors.Join(netns.Set(c.space), unix.SchedSetaffinity(0, &one)); err != nil {
		t.Fatal(err)
	}
}

// enter makes both hold a world and remember nothing.
func (c *court) enter(world *wild.World) (err error) {
	if err := errors.Join(c.forget(), c.apply(world.Steps...), c.keeper.hold(world.Holds)); err != nil {
		return err
	}
	copy(c.held.Flows, world.Flows)
	c.oracle = oracle.New(world.Tables(), dataplane.NewHash(wild.Secret), oracle.Settings{
		ErrorsPerSecond: errorsPerSecond, Holds: world.Holds, Connections: wild.Connections, MTU: c.mtu,
	})
	c.oracle.Choose = c.chosen
	c.expected, err = c.count()
	return errors.Join(err, c.connect(world.Connections[:]))
}

// apply makes changes to what the kernel holds: a range of ports is its blocks there.
func (c *court) apply(changes ...dataplane.Step) error {
	var steps []dataplane.Step
	for _, change := range changes {
		switch s := change.(type) {
		case dataplane.PutVIP:
			for _, block := range dataplane.Blocks([]dataplane.VIP{s.VIP}) {
				steps = append(steps, dataplane.PutVIP{VIP: block, Entry: s.Entry})
			}
		case dataplane.DeleteVIP:
			for _, block := range dataplane.Blocks([]dataplane.VIP{s.VIP}) {
				steps = append(steps, dataplane.DeleteVIP{VIP: block})
			}
		default:
			steps = append(steps, change)
		}
	}
	return dataplane.Apply(c.held, steps, c.plane)
}

// forget makes the kernel's tables empty, but for backends, which are written over.
func (c *court) forget() error {
	steps := []dataplane.Step{dataplane.SeeWide{On: false}, dataplane.SeeNAT{On: false}, dataplane.PutNAT{}}
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
	for ifindex := range c.held.Egress {
		steps = append(steps, dataplane.DeleteEgress{Interface: ifindex})
	}
	clear(c.held.Slots)
	clear(c.held.Conditions)
	c.forgetConnections()
	return errors.Join(
		dataplane.Apply(c.held, steps, c.plane),
		c.plane.objects.ErrorBudget.Put(uint32(0), make([]uint64, ebpf.MustPossibleCPU())), // none sent in any second
		c.forgetFragments(),
	)
}
