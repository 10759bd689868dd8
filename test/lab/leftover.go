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

// place is where labs leave something, and how it is named there. The names are
// exact, because others keep their things in the same places.
type place struct {
	dir    string
	name   *regexp.Regexp // its first group is the lab's prefix
	remove func(name string) error
}

var places = []place{
	{namespaces, regexp.MustCompile(`^(pm\d+(?:_\d+)?)-(?:client|router|balancer(?:-\d+)?|consul|gateway|switch-[abc]|backend-\d+)$`), removeNamespace},
	{bpffs, traceName, func(name string) error { return os.RemoveAll(filepath.Join(bpffs, name)) }},
	{os.TempDir(), traceName, func(name string) error { return os.RemoveAll(filepath.Join(os.TempDir(), name)) }},
}

// traceName is the name of a lab's directory and of its directory of pins.
var traceName = regexp.MustCompile(`^pointsman-lab-(pm\d+(?:_\d+)?)$`)

// traces are the paths other than namespaces that a lab of this prefix owns.
func traces(prefix string) (dir, pinDir string) {
	name := "pointsman-lab-" + prefix
	return filepath.Join(os.TempDir(), name), filepath.Join(bpffs, name)
}

// each calls f for whatever any lab has there.
func (p place) each(f func(prefix, name string)) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return // not there: nothing left in it
	}
	for _, e := range entries {
		if m := p.name.FindStringSubmatch(e.Name()); m != nil {
			f(m[1], e.Name())
		}
	}
}

// Sweep removes namespaces, pins and files of labs whose owner is dead. A
// process id that was given to somebody else since only delays that.
func Sweep() error {
	var errs []error
	for _, p := range places {
		p.each(func(prefix, name string) {
			if !abandoned(prefix) {
				return
			}
			if err := p.remove(name); err != nil {
				errs = append(errs, fmt.Errorf("removing what a dead lab left: %w", err))
			}
		})
	}
	return errors.Join(errs...)
}

var owner = regexp.MustCompile(`\d+`)

func abandoned(prefix string) bool {
	pid, err := strconv.Atoi(owner.FindString(prefix))
	return err == nil && pid > 0 && unix.Kill(pid, 0) == unix.ESRCH
}

// Remains lists what of a lab is still in the system: nothing, after Close.
func Remains(prefix string) []string {
	var remains []string
	for _, p := range places {
		p.each(func(of, name string) {
			if of == prefix {
				remains = append(remains, filepath.Join(p.dir, name))
			}
		})
	}
	return remains
}
