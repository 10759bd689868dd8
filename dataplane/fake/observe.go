package fake

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/pointsman/pointsman/dataplane"
)

// AddInterface makes an interface exist. Others cannot be attached to.
func (t *Tables) AddInterface(name string, is Interface) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.interfaces[name] = is
}

// RemoveInterface makes an interface vanish.
func (t *Tables) RemoveInterface(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.interfaces, name)
	delete(t.forwards, name)
}

// Attach attaches to these interfaces and to no others. Those that cannot be
// attached to are in the joined error; the good ones stay attached.
func (t *Tables) Attach(interfaces []string) ([]dataplane.Attachment, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errClosed
	}
	if t.before != nil {
		if err := t.at(Staging); err != nil {
			return nil, fmt.Errorf("keeping new maps: %w", err)
		}
	}
	var attachments []dataplane.Attachment
	var errs []error
	for _, name := range interfaces {
		attachment, err := t.attach(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("attaching to %s: %w", name, err))
			continue
		}
		attachments = append(attachments, attachment)
	}
	t.attachments = attachments
	maps.DeleteFunc(t.forwards, func(name string, _ *dataplane.Tables) bool { return !slices.Contains(interfaces, name) })
	if t.before != nil {
		if err := t.at(Promoting); err != nil {
			return slices.Clone(attachments), errors.Join(append(errs, fmt.Errorf("taking over the new maps: %w", err))...)
		}
		t.before = nil
	}
	return slices.Clone(attachments), errors.Join(errs...)
}

// attach lets an interface's program see the tables. Where that fails, it goes on
// as it was.
func (t *Tables) attach(name string) (dataplane.Attachment, error) {
	is, exists := t.interfaces[name]
	if !exists {
		return dataplane.Attachment{}, errors.New("there is no such interface")
	}
	if err := cmp.Or(is.Err, t.at(Attaching)); err != nil {
		return dataplane.Attachment{}, err
	}
	t.forwards[name] = t.tables
	return dataplane.Attachment{Interface: name, Index: is.Index, Mode: cmp.Or(is.Mode, "native"), Reason: is.Reason}, nil
}

// Inspect finds interfaces that are not there any more, or are others.
func (t *Tables) Inspect() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found []string
	for _, at := range t.attachments {
		is, exists := t.interfaces[at.Interface]
		if !exists {
			found = append(found, "the interface "+at.Interface+" was gone")
		} else if is.Index != at.Index {
			found = append(found, at.Interface+" is another interface now")
		}
	}
	return found
}

// Attached returns what the last Attach left attached.
func (t *Tables) Attached() []dataplane.Attachment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.attachments)
}

// Counters returns what SetCounters set; backends come and go with their steps.
func (t *Tables) Counters() (dataplane.Counters, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return dataplane.Counters{}, errClosed
	}
	return cloneCounters(t.counters), nil
}

// SetCounters lets the program have counted this much.
func (t *Tables) SetCounters(counters dataplane.Counters) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counters = cloneCounters(counters)
}

// SetConnections lets these be the connections of nat.
func (t *Tables) SetConnections(connections ...dataplane.Connection) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.connections = slices.Clone(connections)
}

// Connections are those of SetConnections that are not over.
func (t *Tables) Connections(second uint32) iter.Seq[dataplane.Connection] {
	t.mu.Lock()
	defer t.mu.Unlock()
	living := slices.DeleteFunc(slices.Clone(t.connections), func(c dataplane.Connection) bool { return c.Expires <= second })
	return slices.Values(living)
}

// Owned tells how many slots each backend owns behind a VIP. Slots without a
// backend count for the zero ID; nil means that the VIP is not known.
func (t *Tables) Owned(vip dataplane.VIP) map[dataplane.ID]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry, known := t.tables.VIPs[vip]
	if !known {
		return nil
	}
	owned := make(map[dataplane.ID]int)
	for _, owner := range t.tables.Slots[entry.FirstSlot:][:entry.SlotCount] {
		owned[t.tables.Backends[owner].ID]++
	}
	return owned
}

// cloneCounters never returns nil maps.
func cloneCounters(c dataplane.Counters) dataplane.Counters {
	cloned := dataplane.Counters{
		Backends:    make(map[uint32]dataplane.BackendCounters),
		Outcomes:    make(map[string]uint64),
		Dropped:     make(map[uint32]map[string]uint64),
		Flows:       c.Flows,
		ByInterface: make(map[uint32]map[string]uint64),
	}
	for index, outcomes := range c.ByInterface {
		cloned.ByInterface[index] = maps.Clone(outcomes)
	}
	for id, dropped := range c.Dropped {
		cloned.Dropped[id] = maps.Clone(dropped)
	}
	maps.Copy(cloned.Backends, c.Backends)
	maps.Copy(cloned.Outcomes, c.Outcomes)
	return cloned
}
