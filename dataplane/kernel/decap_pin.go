package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// decapDir is where an interface's pins are. A BPF filesystem refuses dots in names,
// and an interface's name takes no colons.
func decapDir(pinDir, iface string) string {
	return filepath.Join(pinDir, "decap", strings.ReplaceAll(iface, ".", ":"))
}

// makeDecapDir tells whether it made the folder, so that a first attempt that
// goes wrong can be taken back whole.
func makeDecapDir(pinDir, iface string) (dir string, made bool, err error) {
	dir = decapDir(pinDir, iface)
	if _, err := os.Stat(dir); err == nil {
		return dir, false, nil
	}
	if err := requireBPFFilesystem(pinDir); err != nil {
		return "", false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("making a folder for pins: %w", err)
	}
	return dir, true, nil
}

// requireBPFFilesystem looks at the nearest folder that exists.
func requireBPFFilesystem(path string) error {
	var stat unix.Statfs_t
	nearest := path
	for {
		err := unix.Statfs(nearest, &stat)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || nearest == filepath.Dir(nearest) {
			return fmt.Errorf("looking at %s: %w", nearest, err)
		}
		nearest = filepath.Dir(nearest)
	}
	if stat.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("pinning under %s: it is not on a BPF filesystem; `mount -t bpf bpf /sys/fs/bpf` makes one", path)
	}
	return nil
}

func removeDecapMaps(dir string) error {
	var errs []error
	for _, name := range []string{decapMapDecapVips, decapMapDecapSources, decapMapDecapCounters} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeDecap takes the program off first, then the pins it used, then the
// folders as far as they are empty.
func removeDecap(dir string, ifindex int) (removed []string, err error) {
	hooks, err := findDecapHooks(dir, ifindex)
	if err != nil {
		return nil, err
	}
	for _, hook := range hooks {
		if err := hook.remove(); err != nil {
			return nil, err
		}
		removed = append(removed, hook.mode()+" program")
	}
	if err := removeDecapMaps(dir); err != nil {
		return removed, fmt.Errorf("removing pinned maps: %w", err)
	}
	if err := os.Remove(dir); err != nil {
		return removed, fmt.Errorf("removing the folder for pins: %w", err)
	}
	removed = append(removed, "pins in "+dir)
	decap := filepath.Dir(dir)
	if os.Remove(decap) == nil {
		_ = os.Remove(filepath.Dir(decap)) // not empty: a balancer's pins are there too
	}
	return removed, nil
}
