package fake

import (
	"os"
	"sync"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Drops are a program's drops in memory.
type Drops struct {
	arrivals chan dataplane.Dropped
	closed   chan struct{}
	once     sync.Once

	mu      sync.Mutex
	watched bool
	untold  uint64
	fail    error
}

// NewDrops returns drops of which none has been.
func NewDrops() *Drops {
	return &Drops{arrivals: make(chan dataplane.Dropped), closed: make(chan struct{})}
}

// Drop has a packet dropped, and waits until it is read if anybody watches.
func (d *Drops) Drop(dropped dataplane.Dropped) {
	if !d.Watched() {
		return
	}
	select {
	case d.arrivals <- dropped:
	case <-d.closed:
	}
}

// Leave has packets dropped that are not told of.
func (d *Drops) Leave(untold uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.untold += untold
}

// Fail lets all that is asked fail, until it is called with nil.
func (d *Drops) Fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// Watched tells what Watch was told last.
func (d *Drops) Watched() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.watched
}

// Watch turns drops on and off.
func (d *Drops) Watch(on bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched = on
	return d.fail
}

// Read waits for Drop.
func (d *Drops) Read(deadline time.Time) (dataplane.Dropped, error) {
	select {
	case dropped := <-d.arrivals:
		return dropped, nil
	case <-time.After(time.Until(deadline)):
		return dataplane.Dropped{}, os.ErrDeadlineExceeded
	case <-d.closed:
		return dataplane.Dropped{}, dataplane.ErrClosed
	}
}

// Untold is what Leave left.
func (d *Drops) Untold() (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.untold, d.fail
}

// Close ends Read, and watches no more.
func (d *Drops) Close() error {
	d.once.Do(func() { close(d.closed) })
	return d.Watch(false)
}

// WatchDrops returns drops that never come.
func (t *Tables) WatchDrops() (dataplane.Drops, error) { return NewDrops(), nil }
