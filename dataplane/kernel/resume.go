package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// resume finishes what a process that died in Attach has left. As long as no link
// has the new program, the old maps are the ones that count, and the new ones may
// not be whole; from the first link on, it is the other way round.
func (p pins) resume(secret uint64) error {
	if _, err := os.Stat(p.nextMaps()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(p.maps()); errors.Is(err, os.ErrNotExist) {
		return p.promote()
	}
	next, err := openPinned(p.nextMaps())
	if err != nil {
		return err
	}
	defer next.close()
	links, err := p.openLinks()
	defer closeLinks(links)
	if err != nil {
		return err
	}
	program, err := p.newProgramOn(links, next)
	if err != nil {
		return err
	}
	if program == nil {
		return removeAll(p.nextMaps())
	}
	defer program.Close()
	if next.isLater() {
		return p.refuse(next)
	}
	return p.finish(next, program, links, secret)
}

// finish brings the new program to the links that do not have it yet, and its maps
// into the old ones' place.
func (p pins) finish(next *generation, program *ebpf.Program, links map[string]link.Link, secret uint64) error {
	for name, held := range links {
		info, err := held.Info()
		if err != nil {
			return fmt.Errorf("looking at the pinned link of %s: %w", name, err)
		}
		if xdp := info.XDP(); xdp == nil || xdp.Ifindex == 0 {
			continue // the interface is gone
		}
		if err := held.Update(program); err != nil {
			return fmt.Errorf("replacing the program on %s: %w", name, err)
		}
	}
	old, err := openPinned(p.maps())
	if err != nil {
		return err
	}
	defer old.close()
	if old != nil {
		if err := newTakeover(old, next, secret).finish(p.step); err != nil {
			return fmt.Errorf("finishing what an earlier process began: %w", err)
		}
	}
	return p.promote()
}

// openLinks opens all pinned links, by interface.
func (p pins) openLinks() (map[string]link.Link, error) {
	entries, err := os.ReadDir(p.links())
	if err != nil {
		return nil, fmt.Errorf("listing the pinned links: %w", err)
	}
	links := make(map[string]link.Link)
	for _, entry := range entries {
		name := interfaceOf(entry.Name())
		links[name], err = link.LoadPinnedLink(filepath.Join(p.links(), entry.Name()), nil)
		if err != nil {
			delete(links, name)
			return links, fmt.Errorf("opening the pinned link of %s: %w", name, err)
		}
	}
	return links, nil
}

// interfaceOf is the interface that a link's pin is named after.
func interfaceOf(pin string) string { return strings.ReplaceAll(pin, ":", ".") }

func closeLinks(links map[string]link.Link) {
	for _, l := range links {
		l.Close()
	}
}

// newProgramOn returns the program that was pinned to use these maps, if one of the
// links has it already; else nil.
func (p pins) newProgramOn(links map[string]link.Link, next *generation) (*ebpf.Program, error) {
	program, err := ebpf.LoadPinnedProgram(p.nextProgram(), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // the process died before any link was touched
	}
	if err != nil {
		return nil, fmt.Errorf("opening the pinned program: %w", err)
	}
	attached, err := isOn(program, links)
	if err == nil && attached && next.usedBy(program) {
		return program, nil
	}
	program.Close()
	return nil, err
}

// isOn tells whether one of the links has the program.
func isOn(program *ebpf.Program, links map[string]link.Link) (bool, error) {
	about, err := program.Info()
	if err != nil {
		return false, fmt.Errorf("looking at the pinned program: %w", err)
	}
	id, _ := about.ID()
	for name, held := range links {
		info, err := held.Info()
		if err != nil {
			return false, fmt.Errorf("looking at the pinned link of %s: %w", name, err)
		}
		if info.Program == id {
			return true, nil
		}
	}
	return false, nil
}

// usedBy tells whether a program uses maps of this generation.
func (g *generation) usedBy(program *ebpf.Program) bool {
	about, err := program.Info()
	if err != nil {
		return false
	}
	own := g.mapIDs()
	used, _ := about.MapIDs()
	return slices.ContainsFunc(used, func(id ebpf.MapID) bool { return own[id] })
}

// mapIDs are those of the maps that no other generation has: both may use the one
// table of flows, and of connections.
func (g *generation) mapIDs() map[ebpf.MapID]bool {
	ids := make(map[ebpf.MapID]bool)
	if g == nil {
		return ids
	}
	for name, t := range g.tables {
		if info, err := t.Info(); err == nil && name != lbMapFlows && !isOfConnections(name) {
			id, _ := info.ID()
			ids[id] = true
		}
	}
	return ids
}
