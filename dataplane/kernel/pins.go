package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// pins is the folder on the BPF file system that keeps the data plane alive:
//
//	maps/NAME        the maps that the attached program uses
//	maps_next/NAME   new maps on their way there, while Attach switches
//	links/INTERFACE  the program's attachment to an interface
//	program          the program that is attached, for whoever wants to look at it
//	capture/NAME     those of its maps that show packets to whoever captures
//	program_next     the one that takes its place, while Attach switches
type pins struct {
	dir string
	// between lets a test die between any two steps of Attach; nil else.
	between func() error
}

// step is called before each step of Attach that changes what is pinned, attached
// or carried over.
func (p pins) step() error {
	if p.between == nil {
		return nil
	}
	return p.between()
}

func (p pins) maps() string     { return filepath.Join(p.dir, "maps") }
func (p pins) nextMaps() string { return filepath.Join(p.dir, "maps_next") }
func (p pins) links() string    { return filepath.Join(p.dir, "links") }
func (p pins) program() string  { return filepath.Join(p.dir, "program") }

// capture is where a process that captures finds the program's maps: opening them
// by id would take CAP_SYS_ADMIN.
func (p pins) capture() string { return filepath.Join(p.dir, "capture") }

// captured is the pin of one of them. A BPF file system takes no dots in names.
func (p pins) captured(name string) string {
	return filepath.Join(p.capture(), strings.TrimPrefix(strings.ReplaceAll(name, ".", "_"), "_"))
}

// nextProgram is where a program is pinned before it takes the other's place.
func (p pins) nextProgram() string { return filepath.Join(p.dir, "program_next") }

// link is the pin for an interface. A BPF file system takes no dots in names,
// and an interface's name takes no colons.
func (p pins) link(name string) string {
	return filepath.Join(p.links(), strings.ReplaceAll(name, ".", ":"))
}

// prepareFolders makes those that something is pinned in.
func (p pins) prepareFolders() error {
	for _, dir := range []string{p.links(), p.maps(), p.capture()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the folder for pins: %w", err)
		}
	}
	return nil
}

// prepare makes the folder and finishes what a process that died in Attach left.
func (p pins) prepare(secret uint64) error {
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o755); err != nil {
		return fmt.Errorf("making the folder for pins: %w", err)
	}
	if err := checkBPFFS(filepath.Dir(p.dir)); err != nil {
		return err
	}
	if err := os.MkdirAll(p.links(), 0o700); err != nil {
		return fmt.Errorf("making the folder for pins: %w", err)
	}
	return p.resume(secret)
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

// isTable tells the maps that outlive a process from those that are each
// program's own: variables, what shows packets to whoever wants to see them, and
// what follows from tables.
func isTable(name string) bool {
	return name[0] != '.' && !slices.Contains([]string{lbMapFrames, lbMapAtWork, lbMapDrops, lbMapDropBudget, lbMapHeldFragments, lbMapNatBackends}, name)
}

// pinNext pins new maps beside the old ones.
func (p pins) pinNext(maps map[string]*ebpf.Map) error {
	if err := removeAll(p.nextMaps()); err != nil { // of a try that failed
		return err
	}
	if err := os.Mkdir(p.nextMaps(), 0o700); err != nil {
		return fmt.Errorf("making a folder for new maps: %w", err)
	}
	if err := p.step(); err != nil {
		return err
	}
	for name, m := range maps {
		if err := pinMap(m, filepath.Join(p.nextMaps(), name)); err != nil {
			return err
		}
	}
	return p.step()
}

// pinMap pins a map whether or not it was pinned elsewhere before, which a clone
// does not remember.
func pinMap(m *ebpf.Map, path string) error {
	clone, err := m.Clone()
	if err != nil {
		return fmt.Errorf("pinning the map at %s: %w", path, err)
	}
	defer clone.Close()
	if err := clone.Pin(path); err != nil {
		return fmt.Errorf("pinning the map at %s: %w", path, err)
	}
	return nil
}

// pinProgram makes a program the one that is pinned.
func (p pins) pinProgram(program *ebpf.Program) error {
	if err := pinProgram(program, p.nextProgram()); err != nil {
		return err
	}
	if err := p.step(); err != nil {
		return err
	}
	if err := os.Rename(p.nextProgram(), p.program()); err != nil {
		return fmt.Errorf("pinning the program: %w", err)
	}
	return nil
}

// pinProgram pins a program in place of whatever is there.
func pinProgram(program *ebpf.Program, path string) error {
	clone, err := program.Clone()
	if err != nil {
		return fmt.Errorf("pinning the program: %w", err)
	}
	defer clone.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("pinning the program: %w", err)
	}
	if err := clone.Pin(path); err != nil {
		return fmt.Errorf("pinning the program: %w", err)
	}
	return nil
}

// promote puts the new maps in the old ones' place.
func (p pins) promote() error {
	if err := removeAll(p.maps()); err != nil {
		return err
	}
	if err := p.step(); err != nil {
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
