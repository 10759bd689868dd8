package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
	"github.com/pointsman/pointsman/test/oracle/wild"
)

// tally is what all counters show.
type tally struct {
	outcomes [64]uint64
	backends [wild.Backends]dataplane.BackendCounters
	flows    dataplane.FlowCounters
}

// count reads the counters of all CPUs, in three system calls.
func (c *court) count() (t tally, err error) {
	var outcomes, events []uint64
	var backends []lbBackendCount
	if outcomes, err = ofAllCPUs[uint64](c.plane.objects.Outcomes); err != nil {
		return t, err
	}
	if events, err = ofAllCPUs[uint64](c.plane.objects.FlowEvents); err != nil {
		return t, err
	}
	if backends, err = ofAllCPUs[lbBackendCount](c.plane.objects.BackendCounters); err != nil {
		return t, err
	}
	cpus := len(outcomes) / int(c.plane.objects.Outcomes.MaxEntries())
	for i, n := range outcomes {
		t.outcomes[i/cpus] += n
	}
	for i, n := range backends {
		t.backends[i/cpus].Packets += n.Packets
		t.backends[i/cpus].Bytes += n.Bytes
		t.backends[i/cpus].NewFlows += n.NewFlows
	}
	for i, n := range events {
		switch lbFlowEvent(i / cpus) {
		case lbFlowEventFLOW_INSERTED:
			t.flows.Inserted += n
		case lbFlowEventFLOW_EVICTED:
			t.flows.Evicted += n
		case lbFlowEventFLOW_REFUSED:
			t.flows.Refused += n
		}
	}
	return t, nil
}

// ofAllCPUs reads all values of a per-CPU array, those of one key side by side.
func ofAllCPUs[Value any](array *ebpf.Map) ([]Value, error) {
	var cursor ebpf.MapBatchCursor
	keys := make([]uint32, array.MaxEntries())
	values := make([]Value, len(keys)*ebpf.MustPossibleCPU())
	n, err := array.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) || n != len(keys) {
		return nil, fmt.Errorf("reading %d of %d values of %s: %w", n, len(keys), array, err)
	}
	return values, nil
}

// expect counts a packet as the program should have: exactly one counter moves.
func (c *court) expect(fate oracle.Fate) {
	if fate.Outcome != oracle.Forward {
		c.expected.outcomes[c.numbers[fate.Outcome]]++
		return
	}
	counters := &c.expected.backends[fate.Backend]
	counters.Packets++
	counters.Bytes += uint64(fate.Bytes)
	if fate.NewFlow {
		counters.NewFlows++
	}
}

// sameCounters compares all counters.
func (c *court) sameCounters() error {
	counted, err := c.count()
	if err != nil {
		return err
	}
	expected, events := c.expected, c.oracle.Flows.Events
	expected.flows.Inserted += events.Inserted
	expected.flows.Evicted += events.Evicted
	expected.flows.Refused += events.Refused
	if counted == expected {
		return nil
	}
	for number, name := range c.plane.outcomes {
		if counted.outcomes[number] != expected.outcomes[number] {
			return fmt.Errorf("the program's %s is %d, and by the oracle %d", name, counted.outcomes[number], expected.outcomes[number])
		}
	}
	return fmt.Errorf("the program counts %+v and %+v, and the oracle %+v and %+v",
		counted.backends, counted.flows, expected.backends, expected.flows)
}

// sameMemory compares what packets leave behind, but for what has to be asked for.
func (c *court) sameMemory() error {
	tables := c.oracle.Tables
	if !slices.Equal(c.held.Conditions, tables.Conditions) {
		return fmt.Errorf("the conditions are %d in the kernel, and %d by the oracle", c.held.Conditions, tables.Conditions)
	}
	if !slices.Equal(c.held.Flows, tables.Flows) {
		for at := 0; at < len(tables.Flows); at += dataplane.FlowsPerBucket {
			held, want := c.held.Flows[at:][:dataplane.FlowsPerBucket], tables.Flows[at:][:dataplane.FlowsPerBucket]
			if !slices.Equal(held, want) {
				return fmt.Errorf("a bucket of flows is %x in the kernel, and %x by the oracle", held, want)
			}
		}
	}
	if err := c.sameConnections(); err != nil {
		return err
	}
	for key, way := range c.oracle.Fragments {
		if c.ways[key] == way {
			continue
		}
		if err := c.sameWay(key, way); err != nil {
			return err
		}
		c.ways[key] = way
	}
	return nil
}

// sameWay compares where the fragments of a packet go.
func (c *court) sameWay(key oracle.FragmentKey, want oracle.FragmentWay) error {
	var way lbFragmentWay
	if err := c.plane.objects.Fragments.Lookup(encodeFragmentKey(key), &way); err != nil {
		return fmt.Errorf("the program does not remember the way of %+v: %w", key, err)
	}
	got := oracle.FragmentWay{
		Backend: way.Backend, Second: way.Second, Entropy: way.Entropy,
		Passage: oracle.Passage(way.Nat), Connection: want.Connection,
	}
	if want.Connection != nil && !c.isAt(way.Connection, want.Connection) {
		got.Connection = nil
	}
	if got != want {
		return fmt.Errorf("the way of %+v is %+v in the kernel, and %+v by the oracle", key, got, want)
	}
	return nil
}

// isAt tells whether a connection is at a place of the table. One that is in none
// has been pushed out since.
func (c *court) isAt(place uint32, connection *oracle.Connection) bool {
	for i, line := range c.oracle.Connections.Lines {
		if at := slices.Index(line[:], connection); at >= 0 {
			return uint32(i*len(line)+at) == place
		}
	}
	return true
}

func encodeFragmentKey(key oracle.FragmentKey) lbFragmentKey {
	encoded := lbFragmentKey{
		Source:      encodeAddress(key.Source),
		Destination: encodeAddress(key.Destination),
		Id:          uint32(encodePort(uint16(key.ID))),
		Protocol:    key.Protocol,
	}
	if key.Source.Is6() {
		encoded.Id, encoded.V6 = binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, key.ID)), 1
	}
	return encoded
}

// noMore wants the kernel to hold no ways of fragments but those that the oracle
// does, and nothing to be handed over.
func (c *court) noMore() error {
	ways := 0
	if err := each(c.plane.objects.Fragments, func(lbFragmentKey, lbFragmentWay) { ways++ }); err != nil {
		return err
	}
	if ways != len(c.oracle.Fragments) {
		return fmt.Errorf("the kernel holds %d ways of fragments, and the oracle %d", ways, len(c.oracle.Fragments))
	}
	return c.keeper.hasNothing()
}

// forgetFragments forgets the ways of fragments, and what was handed over.
func (c *court) forgetFragments() error {
	var keys []lbFragmentKey
	for key := range c.ways {
		keys = append(keys, encodeFragmentKey(key))
	}
	clear(c.ways)
	if c.brokenOff { // nobody knows what there is
		err := each(c.plane.objects.Fragments, func(key lbFragmentKey, _ lbFragmentWay) { keys = append(keys, key) })
		if err != nil {
			return err
		}
		for c.keeper.hasNothing() != nil {
		}
	}
	for _, key := range keys {
		if err := deleteKey(c.plane.objects.Fragments, key); err != nil {
			return err
		}
	}
	return nil
}
