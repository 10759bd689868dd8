package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/sys/unix"
)

// ours matches the names that labs give; the first group is the owner's process
// id, the second its lab's number.
var ours = regexp.MustCompile(`^(pm(\d+)(?:_\d+)?)(?:-[a-z0-9-]+)?$`)

// Sweep removes namespaces, pins and files of labs whose owner is dead. A
// process id that was given to somebody else since only delays that.
func Sweep() error {
	var errs []error
	for _, place := range []struct {
		dir    string
		remove func(name string) error
	}{
		{namespaces, removeNamespace},
		{bpffs, func(name string) error { return os.RemoveAll(filepath.Join(bpffs, name)) }},
		{os.TempDir(), func(name string) error { return os.RemoveAll(filepath.Join(os.TempDir(), name)) }},
	} {
		entries, err := os.ReadDir(place.dir)
		if err != nil {
			continue // not there: nothing left in it
		}
		for _, e := range entries {
			if !leftover(e.Name()) {
				continue
			}
			if err := place.remove(e.Name()); err != nil {
				errs = append(errs, fmt.Errorf("removing what a dead lab left: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

func leftover(name string) bool {
	m := ours.FindStringSubmatch(name)
	if m == nil {
		return false
	}
	pid, err := strconv.Atoi(m[2])
	return err == nil && pid > 0 && unix.Kill(pid, 0) == unix.ESRCH
}

// Remains lists what of a lab is still in the system: nothing, after Close.
func Remains(prefix string) []string {
	var remains []string
	for _, dir := range []string{namespaces, bpffs, os.TempDir()} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if m := ours.FindStringSubmatch(e.Name()); m != nil && m[1] == prefix {
				remains = append(remains, filepath.Join(dir, e.Name()))
			}
		}
	}
	return remains
}
