package dataplane

import "errors"

// Fragment is a frame that came before the first fragment of its packet. Key is
// what all fragments of the packet share, as the kernel has it; Interface is where
// the frame came in.
type Fragment struct {
	Key       string
	Interface uint32
	Frame     []byte
}

// Fragments are what a data plane has to hold. As long as they are open, the
// program hands fragments over instead of dropping them. Read may run beside the
// other methods, each of which may run beside a DataPlane's.
type Fragments interface {
	// Read waits for the next fragment; ErrClosed ends it.
	Read() (Fragment, error)
	// FirstHasCome tells whether the program knows where fragments of a key go.
	FirstHasCome(key string) (bool, error)
	// SendAgain lets the program see a fragment once more, and not hand it over
	// again.
	SendAgain(Fragment) error
	Close() error
}

// ErrClosed is what waiting on something ends with that is closed.
var ErrClosed = errors.New("closed")

// ErrCannotHold says that the kernel has no way to send frames again.
var ErrCannotHold = errors.New("this kernel cannot send frames again: that came with Linux 5.18")
