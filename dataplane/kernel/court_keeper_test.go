package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/test/oracle"
)

// keeper reads the fragments that the program hands over.
type keeper struct {
	*fragments // nil if the kernel cannot hold any
	paused     bool
}

func newKeeper(t testing.TB, plane *DataPlane) *keeper {
	t.Helper()
	held, err := plane.HoldFragments()
	if errors.Is(err, dataplane.ErrCannotHold) {
		t.Log("fragments are not held: ", err)
		return &keeper{}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	k := &keeper{fragments: held.(*fragments)}
	if err := k.fragments.hold(forEver); err != nil {
		t.Fatal(err)
	}
	return k
}

// hold lets the program hand fragments over, or not.
func (k *keeper) hold(on bool) error {
	switch {
	case k.fragments == nil || on != k.paused:
		return nil
	case on:
		k.paused = false
		return k.fragments.hold(forEver)
	}
	k.paused = true
	return k.fragments.hold(0)
}

// forEver is a second that never comes.
const forEver = math.MaxUint32

// handedOver does not wait: what was handed over is there.
func (k *keeper) handedOver() (dataplane.Fragment, error) { return k.readUntil(time.Unix(1, 0)) }

// got wants a frame to have been handed over, and nothing else.
func (k *keeper) got(a oracle.Arrival, key oracle.FragmentKey) error {
	held, err := k.handedOver()
	if err != nil {
		return err
	}
	var encoded lbFragmentKey
	if _, err := binary.Decode([]byte(held.Key), binary.NativeEndian, &encoded); err != nil {
		return err
	}
	if encoded != encodeFragmentKey(key) || held.Interface != a.Interface || !bytes.Equal(held.Frame, a.Frame) {
		return fmt.Errorf("handed over is %x of %+v by interface %d, and by the oracle the frame of %+v", held.Frame, encoded, held.Interface, key)
	}
	return k.hasNothing()
}

// hasNothing wants nothing to have been handed over.
func (k *keeper) hasNothing() error {
	if k.fragments == nil {
		return nil
	}
	held, err := k.handedOver()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return fmt.Errorf("handed over is %x, which the oracle does not hold: %w", held.Frame, err)
}
