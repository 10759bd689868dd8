package controlplane

import (
	"sync"
	"time"
)

// versions count what is published and is other than before, but for counters.
type versions struct {
	mu             sync.Mutex
	n              uint64
	tables, events uint64        // that were last published
	next           chan struct{} // closed when n grows
}

// turn notes that something is published: the tables were changed so often, and
// events told up to that one. It begins at the time, in milliseconds, so that no
// daemon uses a number that one before it has used.
func (v *versions) turn(tables, events uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.begin()
	if tables == v.tables && events == v.events {
		return
	}
	v.n++
	v.tables, v.events = tables, events
	close(v.next)
	v.next = make(chan struct{})
}

func (v *versions) begin() {
	if v.next == nil {
		v.n, v.next = uint64(time.Now().UnixMilli()), make(chan struct{})
	}
}

// Generation is how often what is published has changed, for the API.
func (d *daemon) Generation() (uint64, <-chan struct{}) {
	v := &d.versions
	v.mu.Lock()
	defer v.mu.Unlock()
	v.begin()
	return v.n, v.next
}
