package fake

import (
	"sync"

	"github.com/pointsman/pointsman/dataplane"
)

// Fragments are a program's fragments in memory.
type Fragments struct {
	arrivals chan dataplane.Fragment
	closed   chan struct{}
	once     sync.Once

	mu    sync.Mutex
	first map[string]bool
	sent  []dataplane.Fragment
	fail  error
}

// NewFragments returns fragments of which none has come.
func NewFragments() *Fragments {
	return &Fragments{arrivals: make(chan dataplane.Fragment), closed: make(chan struct{}), first: make(map[string]bool)}
}

// Come hands a fragment over, if anybody reads before the channel says not to wait.
func (f *Fragments) Come(fragment dataplane.Fragment, until <-chan struct{}) (taken bool) {
	select {
	case f.arrivals <- fragment:
		return true
	case <-until:
		return false
	}
}

// First lets the first fragment of a key have come.
func (f *Fragments) First(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first[key] = true
}

// Fail lets all that is asked fail, until it is called with nil.
func (f *Fragments) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Sent returns what was sent again since the last call.
func (f *Fragments) Sent() []dataplane.Fragment {
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := f.sent
	f.sent = nil
	return sent
}

// Read waits for Come.
func (f *Fragments) Read() (dataplane.Fragment, error) {
	select {
	case fragment := <-f.arrivals:
		return fragment, nil
	case <-f.closed:
		return dataplane.Fragment{}, dataplane.ErrClosed
	}
}

// FirstHasCome tells what First was told.
func (f *Fragments) FirstHasCome(key string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first[key], f.fail
}

// SendAgain keeps the fragment for Sent.
func (f *Fragments) SendAgain(fragment dataplane.Fragment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		f.sent = append(f.sent, fragment)
	}
	return f.fail
}

// Close ends Read.
func (f *Fragments) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// HoldFragments returns fragments that never come.
func (t *Tables) HoldFragments() (dataplane.Fragments, error) { return NewFragments(), nil }
