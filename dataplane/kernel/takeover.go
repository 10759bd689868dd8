package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// What is known of builds that had no map to say what their maps were like.
const layoutWithoutMap lbLayoutVersion = 1

var (
	outcomesWithoutMap = []string{"FORWARD", "PASS_NOT_IP", "PASS_NOT_TCP_UDP", "PASS_NOT_VIP", "PASS_FRAGMENT", "PASS_UNREADABLE",
		"DROP_BAD_LENGTH", "DROP_NO_BACKEND", "DROP_TOO_BIG", "DROP_NO_HEADROOM", "DROP_NO_EGRESS"}
	eventsWithoutMap = []string{"FLOW_INSERTED", "FLOW_EVICTED", "FLOW_REFUSED"}
)

// takeover carries what is held in the maps of an earlier build, or of another
// size, over into new ones. The old program forwards by the old maps meanwhile:
//
//  1. copy takes all that the control plane has written, and the flow table.
//  2. The caller changes the new maps as it likes, pins them, and calls freeze.
//  3. It switches each link to the new program.
//  4. finish takes what the old program learnt since 1.
//
// Each of them can be done again. Stopped between them, either the old maps are
// the ones that count, before 3, or the new ones, from 3 on: then finish is all
// that is left to do.
type takeover struct {
	from, to    *generation
	flows       flowsTakeover
	connections connectionsTakeover
	lost        map[string]int // what could not be carried over, and how often
}

// newTakeover keeps the flow table, and that of connections, for both programs where
// they fit, which loses nothing at all. The secret is that of the new ones.
func newTakeover(from, to *generation, secret uint64) *takeover {
	t := &takeover{from: from, to: to, lost: make(map[string]int)}
	t.flows = newFlowsTakeover(from, to)
	t.connections = newConnectionsTakeover(from, to, secret, t.lost)
	return t
}

// state are the maps without which the others make no sense.
var state = []string{lbMapVips, lbMapServices, lbMapBackends, lbMapSlots, lbMapConditions, lbMapEgress}

// own are the maps that say what a build's maps are like, each its own.
var own = []string{lbMapLayouts, lbMapTypeNotes}

// derived are the maps that follow from others.
var derived = []string{lbMapVipPlaces, lbMapVipEntries}

// counted are the maps whose values are sums over CPUs: what finish is for.
var counted = []string{lbMapOutcomes, lbMapFlowEvents, lbMapBackendCounters}

// copy fills the new maps with what the old ones hold. It carries nothing where
// some part of the state does not convert: half of it would be worse than none.
func (t *takeover) copy() error {
	copiers := make(map[string]func() error)
	for name, to := range t.to.tables {
		from, known := t.from.tables[name]
		if !known || slices.Contains(own, name) || slices.Contains(derived, name) || name == lbMapFlows || isOfConnections(name) || slices.Contains(counted, name) {
			continue
		}
		copier, err := t.copier(name, to, from)
		if err == nil {
			copiers[name] = copier
			continue
		}
		t.lost[fmt.Sprintf("%s (%v)", name, err)]++
		if slices.Contains(state, name) {
			t.lost["all services, their phases and their flows"]++
			t.flows.lose()
			t.connections.lose()
			return nil
		}
	}
	for name := range t.from.tables {
		if _, known := t.to.tables[name]; !known {
			t.lost[name+" (there is no such map any more)"]++
		}
	}
	for _, name := range slices.Sorted(maps.Keys(copiers)) {
		if err := copiers[name](); err != nil {
			return fmt.Errorf("taking over the map %s: %w", name, err)
		}
	}
	return errors.Join(t.flows.copy(t.lost), t.connections.copy())
}

// freeze keeps the old program from what could not be carried over any more, and
// brings the new maps up to date once more.
func (t *takeover) freeze(second uint32) error {
	return errors.Join(t.flows.freeze(second), t.connections.freeze(second))
}

// copier returns what carries one map over. What a map keeps for moments only,
// as a ring buffer and a cache do, is left where it is.
func (t *takeover) copier(name string, to, from table) (func() error, error) {
	if name == lbMapSlots || name == lbMapConditions {
		return t.elementCopier(to, from)
	}
	values, err := newConversion(to.value, from.value, int(to.ValueSize()), int(from.ValueSize()))
	if err != nil {
		return nil, err
	}
	values.remedied(name, to, from)
	switch to.Type() {
	case ebpf.Hash, ebpf.LPMTrie, ebpf.DevMapHash:
		keys, err := newConversion(to.key, from.key, int(to.KeySize()), int(from.KeySize()))
		return func() error { return t.copyEntries(name, to, from, keys, values) }, err
	case ebpf.Array:
		return func() error { return t.copyArray(name, to, from, values) }, nil
	}
	return func() error { return nil }, nil
}

func (t *takeover) copyEntries(name string, to, from table, keys, values *conversion) error {
	var key, value []byte
	entries := from.Iterate()
	for entries.Next(&key, &value) {
		newKey, newValue := make([]byte, to.KeySize()), make([]byte, to.ValueSize())
		keys.convert(newKey, key)
		values.convert(newValue, value)
		if err := to.Put(newKey, newValue); err != nil {
			t.lost[fmt.Sprintf("entries of %s (%v)", name, err)]++
		}
	}
	t.notice(name, keys, values)
	return entries.Err()
}

// copyArray copies the values that are not zero to the same places.
func (t *takeover) copyArray(name string, to, from table, values *conversion) error {
	old := make([]byte, from.ValueSize())
	for index := range min(to.MaxEntries(), from.MaxEntries()) {
		if err := from.Lookup(index, old); err != nil {
			return err
		}
		if isZero(old) {
			continue
		}
		value := make([]byte, to.ValueSize())
		values.convert(value, old)
		if err := to.Put(index, value); err != nil {
			return err
		}
	}
	t.notice(name, values)
	return nil
}

func isZero(bytes []byte) bool {
	for _, b := range bytes {
		if b != 0 {
			return false
		}
	}
	return true
}

// notice takes the fields that conversions lost to those that are told of.
func (t *takeover) notice(name string, conversions ...*conversion) {
	for _, c := range conversions {
		for field, n := range c.lost {
			t.lost[name+"."+field] += n
		}
	}
}

// finish takes what the old program learnt after copy. It has stopped by now. Step
// is called before each of its parts.
func (t *takeover) finish(step func() error) error {
	for _, part := range []func() error{t.connections.merge, t.mergeSeconds, t.flows.merge, t.carryCounts} {
		if err := step(); err != nil {
			return err
		}
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// losses says in words what could not be carried over.
func (t *takeover) losses() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(t.lost)) {
		if n := t.lost[what]; n > 1 {
			what = fmt.Sprintf("%s %d times", what, n)
		}
		all = append(all, what)
	}
	return strings.Join(all, ", ")
}

// secretMark tells secrets apart without telling them.
func secretMark(secret uint64) uint64 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("pointsman layout"), secret))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}
