package dataplane

import (
	"fmt"
	"time"
)

// Verdict is what the program answers to the kernel: enum xdp_action.
type Verdict uint32

const (
	Aborted Verdict = iota
	Drop
	Pass
	Transmit
	Redirect
)

func (v Verdict) String() string {
	names := []string{"XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict %d", uint32(v))
}

// Leaves tells whether the program sends the packet on itself.
func (v Verdict) Leaves() bool { return v == Transmit || v == Redirect }

// Captured is what was seen of a packet: once when it came, and once when the
// program had run.
type Captured struct {
	CPU       int
	Number    uint64 // of the packet on its CPU
	Gone      bool   // the program has run
	At        time.Time
	Interface uint32 // ifindex: where it came in, or, once it is redirected, where it goes out; 0 is not known
	Queue     uint32 // that it came in by
	Length    int    // of the frame
	Frame     []byte // its beginning; nothing of what is gone and does not leave
	Verdict   Verdict
	Outcome   string // these two of what is gone only
}
