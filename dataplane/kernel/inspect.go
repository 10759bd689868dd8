package kernel

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
)

// Inspect says what is not as Attach has left it: a sentence for each, none if all
// is well. Another Attach mends it. It costs a few system calls an interface and
// a map.
func (d *DataPlane) Inspect() []string {
	if !d.promoted {
		return nil
	}
	var found []string
	for _, name := range slices.Sorted(maps.Keys(d.links)) {
		found = append(found, d.inspectLink(name)...)
	}
	pinned := d.pinned()
	for _, path := range slices.Sorted(maps.Keys(pinned)) {
		if !pinnedAs(pinned[path], path) {
			found = append(found, fmt.Sprintf("the pin of the map %s was removed or replaced", filepath.Base(path)))
		}
	}
	if !d.programIsPinned() {
		found = append(found, "the pin of the program was removed or replaced")
	}
	return found
}

func (d *DataPlane) inspectLink(name string) []string {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return []string{fmt.Sprintf("the interface %s was gone", name)}
	}
	info, err := d.links[name].Info()
	if err != nil {
		return []string{fmt.Sprintf("the link to %s cannot be looked at: %v", name, err)}
	}
	xdp := info.XDP()
	switch {
	case xdp == nil || xdp.Ifindex == 0:
		return []string{fmt.Sprintf("the program was detached from %s", name)}
	case xdp.Ifindex != uint32(device.Index):
		return []string{fmt.Sprintf("%s is another interface now", name)}
	case info.Program != idOf(d.objects.PointsmanLb):
		return []string{fmt.Sprintf("the program on %s was replaced by another", name)}
	case !d.isPinned(name):
		return []string{fmt.Sprintf("the pin of the link to %s was removed or replaced", name)}
	}
	return nil
}

func idOf(program *ebpf.Program) ebpf.ProgramID {
	info, err := program.Info()
	if err != nil {
		return 0
	}
	id, _ := info.ID()
	return id
}

func (d *DataPlane) programIsPinned() bool {
	pinned, err := ebpf.LoadPinnedProgram(d.pins.program(), nil)
	if err != nil {
		return false
	}
	defer pinned.Close()
	return idOf(pinned) == idOf(d.objects.PointsmanLb)
}

// pinnedAs tells whether a map is the one that is pinned at a path.
func pinnedAs(m *ebpf.Map, path string) bool {
	pinned, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return false
	}
	defer pinned.Close()
	return sameMap(m, pinned)
}

// pinned are all maps that are to be pinned, by path.
func (d *DataPlane) pinned() map[string]*ebpf.Map {
	all := map[string]*ebpf.Map{
		d.pins.captured(lbMapFrames):    d.objects.Frames,
		d.pins.captured(lbMapAtWork):    d.objects.AtWork,
		d.pins.captured(captureWishMap): d.wish,
	}
	for name, m := range d.maps() {
		all[filepath.Join(d.pins.maps(), name)] = m
	}
	return all
}

// pinAgain pins what should be and is not.
func (d *DataPlane) pinAgain() error {
	if !d.promoted {
		return nil
	}
	if err := d.pins.prepareFolders(); err != nil {
		return err
	}
	for path, m := range d.pinned() {
		if pinnedAs(m, path) {
			continue
		}
		if err := removeAll(path); err != nil {
			return err
		}
		if err := pinMap(m, path); err != nil {
			return err
		}
	}
	if d.programIsPinned() {
		return nil
	}
	return d.pins.pinProgram(d.objects.PointsmanLb)
}
