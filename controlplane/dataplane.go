package controlplane

import (
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/pointsman/pointsman/dataplane"
)

// DataPlane is what the control plane asks of the kernel. Its methods are not
// called at the same time. dataplane/kernel has the real one and
// dataplane/fake one in memory.
type DataPlane interface {
	dataplane.Writer
	// Tables reads what is held. The caller owns the result and replays the
	// steps it writes on it.
	Tables() (*dataplane.Tables, error)
	// Mend makes all entries what they were left as, but for the slots, conditions and
	// flows, and says what somebody else had done to them, a sentence an entry.
	Mend(left *dataplane.Tables) ([]string, error)
	// Attach makes the program see the packets of these interfaces and of no
	// others. The error names those that could not be had; the others are
	// attached.
	Attach(interfaces []string) ([]dataplane.Attachment, error)
	// Inspect says what is not as Attach has left it; another Attach mends it.
	Inspect() []string
	// Connections are those of nat that are not over at a second of the clock that
	// the program reads.
	Connections(second uint32) iter.Seq[dataplane.Connection]
	// Counters reads what the program has counted.
	Counters() (dataplane.Counters, error)
	// HoldFragments opens what the program hands over instead of dropping it. To
	// be closed before the data plane.
	HoldFragments() (dataplane.Fragments, error)
	// WatchDrops opens what the program tells of packets that it drops. To be closed
	// before the data plane.
	WatchDrops() (dataplane.Drops, error)
	// Close leaves everything in place and forwarding.
	Close() error
}

// Sizes are what a data plane must know before it can be opened.
type Sizes struct {
	Limits dataplane.Limits
	Slots  uint32
	Flows  uint32 // that can be remembered
	Errors uint32 // of ICMP, that each CPU may send in a second
	// Connections of nat that there can be.
	Connections uint32
	Secret      uint64 // keys the flow hash
}

// serial lets the API read counters and tables while the loop writes, one at a
// time.
type serial struct {
	mu     sync.Mutex
	dp     DataPlane
	closed bool
}

// Close waits for who looks at the tables, whose memory goes with it.
func (s *serial) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.dp.Close()
}

// Look lets somebody look at the tables, and at the connections of nat that are not
// over at a second, for as long as the call lasts.
func (s *serial) Look(second uint32, look func(*dataplane.Tables, iter.Seq[dataplane.Connection]) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("the daemon is ending")
	}
	tables, err := s.dp.Tables()
	if err != nil {
		return fmt.Errorf("reading the tables: %w", err)
	}
	return look(tables, s.dp.Connections(second))
}

func (s *serial) Write(step dataplane.Step) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Write(step)
}

func (s *serial) Tables() (*dataplane.Tables, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Tables()
}

func (s *serial) Mend(left *dataplane.Tables) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Mend(left)
}

// ConnectionsByBackend counts the connections of nat that are not over at a second,
// by the index of their backend.
func (s *serial) ConnectionsByBackend(second uint32) map[uint32]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[uint32]int)
	for connection := range s.dp.Connections(second) {
		counts[connection.Index]++
	}
	return counts
}

func (s *serial) Attach(interfaces []string) ([]dataplane.Attachment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Attach(interfaces)
}

func (s *serial) Inspect() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Inspect()
}

func (s *serial) Counters() (dataplane.Counters, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dp.Counters()
}
