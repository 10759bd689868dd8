package kernel

import (
	"errors"

	"golang.org/x/sys/unix"
)

// clock is the program's, which a test turns to the second that packets meet.
type clock struct {
	real   uint32 // the second of the machine's clock
	skewed uint32 // what the program was last told to add
}

// errClockMoved says that nobody knows which second the program has seen. The
// case has to begin anew.
var errClockMoved = errors.New("the clock has moved on under a packet")

// show turns the program's clock to a second.
func (c *clock) show(second uint32, plane *DataPlane) error {
	skew := second - c.real
	if skew == c.skewed {
		return nil
	}
	c.skewed = skew
	return plane.objects.ClockSkewSeconds.Set(skew)
}

// stood tells whether the clock is where it was last time: it moves only forward,
// so it was there in between.
func (c *clock) stood() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		return err
	}
	if uint32(now.Sec) != c.real {
		c.real = uint32(now.Sec)
		return errClockMoved
	}
	return nil
}
