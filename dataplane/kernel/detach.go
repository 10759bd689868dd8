package kernel

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// detachExcept takes the program off all interfaces but these.
func (d *DataPlane) detachExcept(keep []string) error {
	entries, err := os.ReadDir(d.pins.links())
	if err != nil {
		return fmt.Errorf("listing the pinned links: %w", err)
	}
	var failures []error
	for _, entry := range entries {
		if name := interfaceOf(entry.Name()); !slices.Contains(keep, name) {
			failures = append(failures, d.pins.detach(name))
		}
	}
	for name, held := range d.links {
		if !slices.Contains(keep, name) {
			// Its pin may be gone, and then nothing else detaches it.
			if err := held.Detach(); err != nil && !isGone(err) {
				failures = append(failures, fmt.Errorf("detaching from %s: %w", name, err))
			}
			d.letGo(name)
		}
	}
	return errors.Join(failures...)
}

// isGone tells that an interface has taken its attachment along.
func isGone(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) }

func (p pins) detach(name string) error {
	pinned, err := link.LoadPinnedLink(p.link(name), nil)
	if err != nil {
		return fmt.Errorf("opening the pinned link of %s: %w", name, err)
	}
	defer pinned.Close()
	// Detaching rather than only unpinning: a daemon may hold the link open.
	if err := pinned.Detach(); err != nil && !isGone(err) {
		return fmt.Errorf("detaching from %s: %w", name, err)
	}
	return pinned.Unpin()
}

// Detach takes everything under pinDir off this host and says what it took.
// Nothing there is no error.
func Detach(pinDir string) ([]string, error) {
	p := pins{dir: pinDir}
	var removed []string
	entries, err := os.ReadDir(p.links())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the pinned links: %w", err)
	}
	for _, entry := range entries {
		name := interfaceOf(entry.Name())
		if err := p.detach(name); err != nil {
			return removed, err
		}
		removed = append(removed, "the program on "+name)
	}
	for _, pinned := range []struct{ what, path string }{
		{"the maps in", p.maps()}, {"the maps in", p.nextMaps()}, {"the program pinned as", p.program()}, {"the program pinned as", p.nextProgram()}, {"the maps in", p.capture()},
	} {
		if _, err := os.Stat(pinned.path); err == nil {
			removed = append(removed, pinned.what+" "+pinned.path)
		}
		if err := removeAll(pinned.path); err != nil {
			return removed, err
		}
	}
	if err := os.Remove(p.links()); err != nil {
		return removed, fmt.Errorf("removing %s: %w", p.links(), err)
	}
	// Left in place where a decapsulating program of this host lives beside us.
	if err := os.Remove(p.dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return removed, fmt.Errorf("removing %s: %w", p.dir, err)
	}
	return removed, nil
}
