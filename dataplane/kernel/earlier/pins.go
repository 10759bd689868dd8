package earlier

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// pins is the folder on the BPF file system that keeps the data plane alive:
//
//	maps/NAME       the maps that the attached program uses
//	maps_next/NAME  new maps on their way there, while Attach switches
//	links/INTERFACE  the program's attachment to an interface
type pins struct{ dir string }

func (p pins) maps() string     { return filepath.Join(p.dir, "maps") }
func (p pins) nextMaps() string { return filepath.Join(p.dir, "maps_next") }
func (p pins) links() string    { return filepath.Join(p.dir, "links") }

// link is the pin for an interface. A BPF file system takes no dots in names,
// and an interface's name takes no colons.
func (p pins) link(name string) string {
	return filepath.Join(p.links(), strings.ReplaceAll(name, ".", ":"))
}

// prepare makes the folder and finishes what a process that died in Attach left.
func (p pins) prepare() error {
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o755); err != nil {
		return fmt.Errorf("making the folder for pins: %w", err)
	}
	if err := checkBPFFS(filepath.Dir(p.dir)); err != nil {
		return err
	}
	if err := os.MkdirAll(p.links(), 0o700); err != nil {
		return fmt.Errorf("making the folder for pins: %w", err)
	}
	if _, err := os.Stat(p.maps()); err == nil {
		// The old maps are whole, and consistent with the attached program
		// or older than it; the new ones may not be whole.
		return removeAll(p.nextMaps())
	}
	if err := os.Rename(p.nextMaps(), p.maps()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("taking over the pinned maps: %w", err)
	}
	return nil
}

func checkBPFFS(dir string) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	if stat.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is not on a BPF file system; mount one with: mount -t bpf bpf /sys/fs/bpf", dir)
	}
	return nil
}

// pinNext pins new maps beside the old ones.
func (p pins) pinNext(maps map[string]*ebpf.Map) error {
	if err := os.Mkdir(p.nextMaps(), 0o700); err != nil {
		return fmt.Errorf("making a folder for new maps: %w", err)
	}
	for name, m := range maps {
		if err := m.Pin(filepath.Join(p.nextMaps(), name)); err != nil {
			return fmt.Errorf("pinning the map %s: %w", name, err)
		}
	}
	return nil
}

// promote puts the new maps in the old ones' place.
func (p pins) promote() error {
	if err := removeAll(p.maps()); err != nil {
		return err
	}
	if err := os.Rename(p.nextMaps(), p.maps()); err != nil {
		return fmt.Errorf("taking over the new maps: %w", err)
	}
	return nil
}

// removeAll unpins a folder of maps. Nothing there is no error.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("unpinning %s: %w", dir, err)
	}
	return nil
}
