// Package fake is a data plane in memory for tests: it behaves like the
// kernel's, forwards nothing, and fails when it is told to.
package fake

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/pointsman/pointsman/dataplane"
)

// ErrInjected is what FailAfter lets writes fail with.
var ErrInjected = errors.New("the fake was told to fail")

// Tables is a data plane in memory. All methods may be called at any time from
// any goroutine.
type Tables struct {
	mu          sync.Mutex
	tables      *dataplane.Tables
	steps       []dataplane.Step
	failOn      func(dataplane.Step) error
	failAt      func(Place) error
	before      *dataplane.Tables            // those of the program before, until Attach is through
	forwards    map[string]*dataplane.Tables // by interface: what its program sees
	interfaces  map[string]Interface
	attachments []dataplane.Attachment
	counters    dataplane.Counters
	connections []dataplane.Connection
	closed      bool
}

// Interface is how a fake interface answers to being attached to.
type Interface struct {
	Index  uint32
	Mode   string // "" is "native"
	Reason string
	Err    error // not nil: attaching fails
}

// FlowLimit is how many flows a fake can remember.
const FlowLimit = 1 << 10

// New returns empty tables, with slots for all services together.
func New(limits dataplane.Limits, slots uint32) *Tables {
	tables := dataplane.NewTables(limits, slots)
	tables.Flows = make(dataplane.Flows, FlowLimit)
	return &Tables{
		tables:     tables,
		interfaces: make(map[string]Interface),
		forwards:   make(map[string]*dataplane.Tables),
		counters: dataplane.Counters{
			Backends: make(map[uint32]dataplane.BackendCounters),
			Outcomes: make(map[string]uint64),
		},
	}
}

// FailAfter lets the next n writes succeed and all later ones fail. A negative
// n ends that.
func (t *Tables) FailAfter(n int) {
	if n < 0 {
		t.FailOn(nil)
		return
	}
	t.FailOn(func(dataplane.Step) error {
		if n == 0 {
			return ErrInjected
		}
		n--
		return nil
	})
}

// FailOn asks before each write whether it should fail. Nil ends that.
func (t *Tables) FailOn(fail func(dataplane.Step) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failOn = fail
}

// Tables returns a copy of what is held, for the caller to replay steps on. Its
// Slots, Conditions and Flows are no copy: as in the kernel, they are memory that
// others write to as well. So a test plays the program by storing there.
func (t *Tables) Tables() (*dataplane.Tables, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	return clone(t.tables), nil
}

func clone(tables *dataplane.Tables) *dataplane.Tables {
	copied := *tables
	copied.Slots, copied.Conditions, copied.Flows = nil, nil, nil // not to be read but atomically
	cloned := copied.Clone()
	cloned.Slots, cloned.Conditions, cloned.Flows = tables.Slots, tables.Conditions, tables.Flows
	return cloned
}

var errClosed = errors.New("the data plane is closed")

// Write carries out a step, with the checks that the kernel makes.
func (t *Tables) Write(step dataplane.Step) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errClosed
	}
	if t.failOn != nil {
		if err := t.failOn(step); err != nil {
			return err
		}
	}
	if err := t.check(step); err != nil {
		return err
	}
	step.Replay(t.tables)
	t.steps = append(t.steps, step)
	if put, ok := step.(dataplane.PutBackend); ok && put.New {
		t.counters.Backends[put.Index] = dataplane.BackendCounters{}
	}
	if deleted, ok := step.(dataplane.DeleteBackend); ok {
		delete(t.counters.Backends, deleted.Index)
	}
	return nil
}

// check refuses what does not fit the kernel's maps.
func (t *Tables) check(step dataplane.Step) error {
	held, limits := t.tables, t.tables.Limits
	switch s := step.(type) {
	case dataplane.PutBackend:
		if s.Index == dataplane.NoBackend || s.Index >= limits.Backends {
			return fmt.Errorf("there is no backend index %d among %d", s.Index, limits.Backends)
		}
		if s.Entry.Hop.Interface == 0 && !s.Entry.Dead {
			return fmt.Errorf("backend %s has no egress interface", s.Entry.ID)
		}
	case dataplane.PutService:
		if _, known := held.Services[s.ID]; !known && len(held.Services) >= int(limits.Services) {
			return fmt.Errorf("all %d services are taken", limits.Services)
		}
		if s.Entry.Name == "" || len(s.Entry.Name) > dataplane.MaxServiceName {
			return fmt.Errorf("service name %q is not 1 to %d bytes long", s.Entry.Name, dataplane.MaxServiceName)
		}
	case dataplane.PutVIP:
		if _, known := held.VIPs[s.VIP]; !known && len(held.VIPs) >= int(limits.VIPs) {
			return fmt.Errorf("all %d VIPs are taken", limits.VIPs)
		}
	case dataplane.PutAddress:
		if !held.Addresses[s.Addr] && len(held.Addresses) >= int(limits.VIPs) {
			return fmt.Errorf("all %d addresses of VIPs are taken", limits.VIPs)
		}
	case dataplane.PutPrefix:
		if !held.Prefixes[s.Prefix] && len(held.Prefixes) >= int(limits.VIPs) {
			return fmt.Errorf("all %d prefixes are taken", limits.VIPs)
		}
	case dataplane.PutQUICID:
		if _, known := held.QUICIDs[s.Key]; !known && len(held.QUICIDs) >= 2*int(limits.Backends) {
			return fmt.Errorf("all %d QUIC IDs are taken", 2*limits.Backends)
		}
	case dataplane.PutSlots:
		for _, owner := range s.Owners {
			if int(owner.Slot) >= len(held.Slots) {
				return fmt.Errorf("slot %d of %s is outside of %d slots", owner.Slot, s.Name, len(held.Slots))
			}
		}
	case dataplane.PutConditions:
		for _, change := range s.Changes {
			if int(change.Slot) >= len(held.Slots) {
				return fmt.Errorf("slot %d of %s is outside of %d slots", change.Slot, s.Name, len(held.Slots))
			}
		}
	}
	return nil
}

// Steps returns the steps that were written since the last call, oldest first.
func (t *Tables) Steps() []dataplane.Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	steps := t.steps
	t.steps = nil
	return steps
}

// Change lets a test meddle with what is held, as someone with bpftool might.
func (t *Tables) Change(meddle func(*dataplane.Tables)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	meddle(t.tables)
}

// Mend makes entries again what they were left as.
func (t *Tables) Mend(left *dataplane.Tables) ([]string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	held := t.tables
	found := slices.Concat(
		mend("interface %d of egress", held.Egress, left.Egress),
		mend("service %d of services", held.Services, left.Services),
		mend("backend %d of backends", held.Backends, left.Backends),
		mend("%s of quic_ids", held.QUICIDs, left.QUICIDs),
		mend("%s of vip_addresses", held.Addresses, left.Addresses),
		mend("%s of wide_prefixes", held.Prefixes, left.Prefixes),
		mend("%s of vips", held.VIPs, left.VIPs),
	)
	if held.SeesWide != left.SeesWide {
		held.SeesWide = left.SeesWide
		found = append(found, "the switch for wide VIPs was changed")
	}
	if held.SeesNAT != left.SeesNAT || !held.NAT.Equal(left.NAT) {
		held.SeesNAT, held.NAT = left.SeesNAT, left.NAT
		found = append(found, "the settings of nat were changed")
	}
	return found, nil
}

func mend[Key, Value comparable](name string, held, left map[Key]Value) (found []string) {
	for _, stray := range dataplane.Strays(held, left) {
		if stray.Was == dataplane.Added {
			delete(held, stray.Key)
		} else {
			held[stray.Key] = stray.Left
		}
		found = append(found, fmt.Sprintf(name+" was %s", stray.Key, stray.Was))
	}
	slices.Sort(found)
	return found
}

// Close ends all use. What is held stays, and Reopen gives it to the next.
func (t *Tables) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return nil
}
