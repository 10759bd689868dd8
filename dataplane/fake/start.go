package fake

import (
	"maps"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// Place is where a start can fail beside writes.
type Place string

// The places, in the order in which a start comes by them. To attach is one for each
// interface.
const (
	Migrating Place = "migrating" // carrying over what is held into other maps
	Staging   Place = "staging"   // keeping these beside the old ones
	Attaching Place = "attaching"
	Promoting Place = "promoting" // putting them in the old ones' place
)

// FailAt asks at each place whether it should fail there. Nil ends that.
func (t *Tables) FailAt(fail func(Place) error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failAt = fail
}

func (t *Tables) at(place Place) error {
	if t.failAt == nil {
		return nil
	}
	return t.failAt(place)
}

// Reopen returns a data plane that adopts what this one holds, as a daemon that
// starts again would. If this one died between two maps, it finishes what was begun
// once a program sees the new ones, and else throws them away.
func (t *Tables) Reopen() *Tables {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.before != nil && !t.begun() {
		t.tables = t.before
	}
	adopted := t.successor(clone(t.tables))
	for name := range t.forwards {
		adopted.forwards[name] = adopted.tables
	}
	return adopted
}

// begun tells whether a program sees the new maps.
func (t *Tables) begun() bool {
	return slices.Contains(slices.Collect(maps.Values(t.forwards)), t.tables)
}

// Migrate is Reopen by a build whose maps are others. It fills them with what this
// one holds; programs see that until Attach switches them.
func (t *Tables) Migrate() (*Tables, error) {
	adopted := t.Reopen()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.at(Migrating); err != nil {
		return nil, err
	}
	adopted.before = adopted.tables
	adopted.tables = adopted.tables.Clone()
	return adopted, nil
}

// successor is a data plane with these tables in the same world.
func (t *Tables) successor(tables *dataplane.Tables) *Tables {
	s := New(t.tables.Limits, 0)
	s.tables = tables
	s.interfaces = t.interfaces
	s.attachments = slices.Clone(t.attachments)
	s.counters = cloneCounters(t.counters)
	return s
}

// Seen returns a copy of what the program on an interface forwards by; nil if there
// is none.
func (t *Tables) Seen(name string) *dataplane.Tables {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forwards[name] == nil {
		return nil
	}
	return t.forwards[name].Clone()
}
