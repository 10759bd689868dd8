package kernel

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/pointsman/pointsman/dataplane"
)

// exactVIPs is what leads the program to VIPs of one address and one port without a
// lookup in the map vips, from which all of it follows: see bpf/exact.h. A place is
// changed by one store. An entry is written while no place leads to it, and comes to
// be used again when all other unused ones have been, so that whoever was led there is
// long gone. What several VIPs share, or has no entry, is asked of vips.
type exactVIPs struct {
	hash    dataplane.Hash
	lines   []lbVipLine // of places
	entries []lbVipEntry

	at     map[uint32][]lbVipKey // the VIPs that have a place
	unused []lbVipPlace          // entries, the longest unused first

	// What was left there, to tell what others write.
	leftLines   []lbVipLine
	leftEntries []lbVipEntry
}

const (
	placesPerLine = uint32(len(lbVipLine{}.Entry))
	placesPerVIP  = 4  // so that few share one, and packets for no VIP mostly find theirs empty
	spareEntries  = 64 // that are unused however many VIPs there are
)

func newExactVIPs(secret uint64, lines []lbVipLine, entries []lbVipEntry) *exactVIPs {
	return &exactVIPs{hash: dataplane.NewHash(secret), lines: lines, entries: entries}
}

// follow makes what is there lead to the VIPs, at every moment to all of them. What
// does already is left as it is.
func (e *exactVIPs) follow(vips map[lbVipKey]lbVip) {
	e.leftLines, e.leftEntries = slices.Clone(e.lines), slices.Clone(e.entries)
	e.at = make(map[uint32][]lbVipKey)
	for key := range vips {
		place := e.placeOf(key)
		e.at[place] = append(e.at[place], key)
	}
	used := make(map[lbVipPlace]bool)
	for place := range uint32(len(e.lines)) * placesPerLine {
		index := *placeIn(e.leftLines, place)
		switch keys := e.at[place]; {
		case len(keys) == 0:
			e.lead(place, lbVipPlaceVIP_NONE)
		case len(keys) == 1 && e.has(index, keys[0], vips[keys[0]]):
			used[index] = true
		default:
			e.lead(place, lbVipPlaceVIP_ASK)
		}
	}
	e.unused = nil // lead has added some of them
	for index := range e.entries {
		if index > 0 && !used[lbVipPlace(index)] {
			e.unused = append(e.unused, lbVipPlace(index))
		}
	}
	for place, keys := range e.at {
		if len(keys) == 1 && !used[*placeIn(e.leftLines, place)] {
			e.put(keys[0], vips[keys[0]])
		}
	}
}

func (e *exactVIPs) has(index lbVipPlace, key lbVipKey, value lbVip) bool {
	return index > 0 && index < lbVipPlace(len(e.entries)) && e.entries[index] == lbVipEntry{Key: key, Vip: value}
}

func (e *exactVIPs) placeOf(key lbVipKey) uint32 {
	return e.hash.Place(decodeVIP(key)) & (uint32(len(e.lines))*placesPerLine - 1)
}

func placeIn(lines []lbVipLine, place uint32) *lbVipPlace {
	return &lines[place/placesPerLine].Entry[place%placesPerLine]
}

func (e *exactVIPs) lead(place uint32, to lbVipPlace) {
	was := *placeIn(e.leftLines, place)
	atomic.StoreUint32((*uint32)(placeIn(e.lines, place)), uint32(to))
	*placeIn(e.leftLines, place) = to
	if was != lbVipPlaceVIP_NONE && was != lbVipPlaceVIP_ASK {
		e.unused = append(e.unused, was)
	}
}

// put is called once vips has the entry.
func (e *exactVIPs) put(key lbVipKey, value lbVip) {
	place := e.placeOf(key)
	if !slices.Contains(e.at[place], key) {
		e.at[place] = append(e.at[place], key)
	}
	if len(e.at[place]) > 1 || len(e.unused) == 0 {
		e.lead(place, lbVipPlaceVIP_ASK)
		return
	}
	index := e.unused[0]
	e.unused = e.unused[1:]
	e.leftEntries[index] = lbVipEntry{Key: key, Vip: value}
	e.entries[index] = e.leftEntries[index]
	e.lead(place, index)
}

// delete is called once vips has the entry no more. A place that was shared goes on
// asking until it has no VIP, or the next daemon has started.
func (e *exactVIPs) delete(key lbVipKey) {
	place := e.placeOf(key)
	e.at[place] = slices.DeleteFunc(e.at[place], func(other lbVipKey) bool { return other == key })
	if len(e.at[place]) == 0 {
		delete(e.at, place)
		e.lead(place, lbVipPlaceVIP_NONE)
	}
}

// mend makes it what was left there, and says what somebody else had done.
func (e *exactVIPs) mend(objects *lbObjects) ([]string, error) {
	found, err := mendMapped(objects.VipEntries, e.entries, e.leftEntries, "entry")
	more, failure := mendMapped(objects.VipPlaces, e.lines, e.leftLines, "line")
	return append(found, more...), errors.Join(err, failure)
}

// mendMapped is mend of an array whose memory is shared.
func mendMapped[Value comparable](m *ebpf.Map, now, was []Value, name string) ([]string, error) {
	held, left := make(map[uint32]Value), make(map[uint32]Value)
	var zero Value
	for i := range now {
		if value := now[i]; value != was[i] && value != zero {
			held[uint32(i)] = value
		}
		if now[i] != was[i] && was[i] != zero {
			left[uint32(i)] = was[i]
		}
	}
	return mend(m, held, left, func(index uint32) string { return fmt.Sprintf("%s %d", name, index) })
}
