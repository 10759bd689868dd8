package decap

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const schemaVersion = 1

// state is what was changed on this host since it was booted.
type state struct {
	SchemaVersion int      `json:"schema_version"`
	BootID        string   `json:"boot_id"` // a boot undoes everything but this file
	Changes       []record `json:"changes"`
}

// record is a change and the interfaces that want it: a VIP on lo may serve several.
type record struct {
	Change
	For []string `json:"for"`
}

func (s *state) find(c Change) *record {
	for i := range s.Changes {
		if s.Changes[i].is(c) {
			return &s.Changes[i]
		}
	}
	return nil
}

// note records that an interface wants a change, as it is to be made now.
func (s *state) note(c Change, iface string) {
	r := s.find(c)
	if r == nil {
		s.Changes = append(s.Changes, record{c, []string{iface}})
		return
	}
	r.Change = c
	if !slices.Contains(r.For, iface) {
		r.For = append(r.For, iface)
	}
}

// forget drops a change, whoever wanted it.
func (s *state) forget(c Change) {
	s.Changes = slices.DeleteFunc(s.Changes, func(r record) bool { return r.is(c) })
}

func (s *state) changes() []Change {
	var changes []Change
	for _, r := range s.Changes {
		changes = append(changes, r.Change)
	}
	return changes
}

// unwanted takes an interface off all changes but those it still wants, and
// returns, in the order in which to undo them, those that nobody wants then.
// For the interface "" it is all changes.
func (s *state) unwanted(iface string, wanted []Change) []Change {
	var unwanted []Change
	for i := range s.Changes {
		r := &s.Changes[i]
		if slices.ContainsFunc(wanted, r.is) {
			continue
		}
		if iface == "" {
			r.For = nil
		}
		r.For = slices.DeleteFunc(r.For, func(name string) bool { return name == iface })
		if len(r.For) == 0 {
			unwanted = append(unwanted, r.Change)
		}
	}
	slices.SortStableFunc(unwanted, func(a, b Change) int {
		return slices.Index(kindOrder, b.Kind) - slices.Index(kindOrder, a.Kind)
	})
	return unwanted
}

// stateFile keeps the state on disk. Its folder is locked, so that two runs do
// not undo each other's changes.
type stateFile struct {
	path string
	lock *os.File
}

func openStateFile(path string) (*stateFile, error) {
	if path == "" {
		path = DefaultStateFile
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the state file: %w", err)
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the state file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("locking %s, which another pointsman may be using: %w", dir, err)
	}
	return &stateFile{path, lock}, nil
}

// close releases the lock.
func (f *stateFile) close() { f.lock.Close() }

// read returns an empty state if there is none, or only one from before the
// last boot.
func (f *stateFile) read(bootID string) (*state, error) {
	empty := &state{SchemaVersion: schemaVersion, BootID: bootID}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was changed on this host: %w", err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("reading what was changed on this host from %s: %w", f.path, err)
	}
	if s.SchemaVersion != schemaVersion {
		return nil, fmt.Errorf("reading what was changed on this host from %s: it is of version %d, not %d; use the pointsman that wrote it", f.path, s.SchemaVersion, schemaVersion)
	}
	if s.BootID != bootID {
		return empty, nil
	}
	return &s, nil
}

// write replaces the file at once and on disk: a change follows. An empty state
// is no file.
func (f *stateFile) write(s *state) error {
	if len(s.Changes) == 0 {
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the state file: %w", err)
		}
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("writing down what is changed on this host: %w", err)
	}
	if err := f.replace(append(text, '\n')); err != nil {
		return fmt.Errorf("writing down what is changed on this host: %w", err)
	}
	return nil
}

func (f *stateFile) replace(text []byte) error {
	next, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name()) // gone already if all went well
	_, err = next.Write(text)
	if err = errors.Join(err, next.Sync(), next.Close()); err != nil {
		return err
	}
	if err := os.Rename(next.Name(), f.path); err != nil {
		return err
	}
	return f.lock.Sync()
}
