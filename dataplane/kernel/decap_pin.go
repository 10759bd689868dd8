package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// decapDir is where an interface's pins are.
func decapDir(pinDir, iface string) string {
	return filepath.Join(pinDir, "decap", pinName(iface))
}

// pinName is an interface's name as a BPF file system takes it, without dots. An
// interface's name has no colons.
func pinName(iface string) string { return strings.ReplaceAll(iface, ".", ":") }

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

// requireBPFFilesystem looks at the nearest folder that exists, so that nothing
// is made on an ordinary disk.
func requireBPFFilesystem(path string) error {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return checkBPFFS(path)
		}
		path = filepath.Dir(path)
	}
}

func removeDecapMaps(dir string) error {
	var errs []error
	for _, name := range []string{
		decapMapDecapVips, decapMapDecapVipPrefixes, decapMapDecapSources, decapMapDecapCounters,
		decapMapDecapPortsIn, decapMapDecapPortsOut,
	} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeDecap takes the programs off first, that of the way out after that of the
// way in, then the pins they used, then the folders as far as they are empty.
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
	out, err := detachDecapOut(dir, ifindex, nil)
	removed = append(removed, out...)
	if err != nil {
		return removed, err
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
