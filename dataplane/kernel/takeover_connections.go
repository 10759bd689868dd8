package kernel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// connectionsTakeover carries nat's connections over. Mostly that is nothing to do:
// where layout, size and secret are the same, both programs use the one table.
//
// Else each living connection is entered anew, under its source port. By the same
// secret that always works: a table does not shrink, so that none comes to a place
// of one that it was apart from. By another one some do, and are lost.
type connectionsTakeover struct {
	from, to *connectionTable // nil where there is nothing to carry
	read     *conversion
	same     bool // the secret is
	lost     map[string]int

	seen   []uint64 // the old tags when they were copied
	at     []int32  // where they are now; noPlace if they are noPlace
	frozen bool
}

const noPlace = -1

// isOfConnections tells the maps that make up the table of nat's connections:
// they belong together.
func isOfConnections(name string) bool {
	return slices.Contains([]string{lbMapConnections, lbMapConnectionTags, lbMapConnectionReplies}, name)
}

// sharesConnections tells whether the new program can use the old table of
// connections, as both then do while links are switched, and nothing is lost.
func sharesConnections(from *generation, want *ebpf.CollectionSpec, secret uint64) bool {
	shares := from.secret == secret && from.version == lbLayoutVersionLAYOUT_VERSION
	for name, spec := range want.Maps {
		if !isOfConnections(name) {
			continue
		}
		old, was := from.tables[name]
		shares = shares && was && sameKept(spec.Value, old.value) && spec.Compatible(old.Map) == nil
	}
	return shares
}

// newConnectionsTakeover decides by what is known of the maps alone, so that one
// that was interrupted decides the same.
func newConnectionsTakeover(from, to *generation, secret uint64, lost map[string]int) connectionsTakeover {
	t := connectionsTakeover{lost: lost, same: from.secret == to.secret}
	old, was := from.tables[lbMapConnections]
	new, is := to.tables[lbMapConnections]
	if !was || !is || sameMap(old.Map, new.Map) {
		return t
	}
	read, err := newConversion(new.value, old.value, int(new.ValueSize()), int(old.ValueSize()))
	if err == nil && !sameType(from.tables[lbMapConnectionTags].value, to.tables[lbMapConnectionTags].value) {
		err = errors.New("what they go through was noted otherwise")
	}
	if err == nil && to.secret != secretMark(secret) {
		err = errors.New("the hash secret has changed while they were taken over")
	}
	if err != nil {
		t.lost[fmt.Sprintf("connections of nat (%v)", err)]++
		return t
	}
	t.from, t.to, t.read = newConnectionTable(from, secret), newConnectionTable(to, secret), read
	return t
}

func (t *connectionsTakeover) lose() { t.from, t.to = nil, nil }

// use opens the tables for the time of a call.
func (t *connectionsTakeover) use(do func()) error {
	if t.from == nil {
		return nil
	}
	err := errors.Join(t.from.open(), t.to.open())
	if err == nil {
		do()
	}
	return errors.Join(err, t.from.close(), t.to.close())
}

// copy fills the new table, which nobody uses yet.
func (t *connectionsTakeover) copy() error {
	return t.use(func() {
		t.to.clear()
		t.seen, t.at = make([]uint64, len(t.from.tags)), make([]int32, len(t.from.tags))
		t.follow()
	})
}

// freezeSeconds of nat are few: an old program that is left alone begins connections
// again after them.
const freezeConnectionsSeconds = 5

// freeze keeps the old program from beginning connections that the new one would not
// know: it would take their answers for the host's, which resets what it does not
// know. A client sends its SYN again after a second.
func (t *connectionsTakeover) freeze(second uint32) error {
	if t.frozen { // and links may have been switched since
		return t.merge()
	}
	if err := t.copy(); err != nil {
		return err
	}
	t.frozen = true
	return t.use(func() {
		t.from.fill(second, second+freezeConnectionsSeconds)
		t.follow()
	})
}

// merge takes what the old program did to connections since they were copied.
func (t *connectionsTakeover) merge() error { return t.use(t.follow) }

// follow does with the new table what has become of the old one since the last time.
// First whatever gives up a port there, then whatever may have taken it.
func (t *connectionsTakeover) follow() {
	var fresh []int
	for i := range t.from.tags {
		tag, seen, at := t.from.tag(i), uint64(0), noPlace
		if t.seen != nil {
			seen, at = t.seen[i], int(t.at[i])
		}
		switch {
		case tag == seen:
		case sameLife(tag, seen):
			t.update(at, seen, tag, i)
			t.saw(i, tag, at)
		default:
			t.to.end(at, seen)
			t.saw(i, 0, noPlace)
			fresh = append(fresh, i)
		}
	}
	for _, i := range fresh {
		tag := t.from.tag(i)
		t.saw(i, tag, t.enter(i, tag))
	}
}

func (t *connectionsTakeover) saw(i int, tag uint64, at int) {
	if t.seen != nil {
		t.seen[i], t.at[i] = tag, int32(at)
	}
}

// enter brings a connection of the old table into the new one, and says where.
func (t *connectionsTakeover) enter(old int, tag uint64) int {
	second := monotonicSecond()
	if !tagLives(tag, second) || tagState(tag) == lbConnectionStateCONNECTION_CLAIMED {
		return noPlace
	}
	entry, there := t.entry(old, tag)
	if !there {
		return noPlace
	}
	at := t.to.find(&entry, second)
	if tagState(tag) == lbConnectionStateCONNECTION_RETIRED { // no packet finds it, but it has its port
		at = t.to.holder(&entry, second)
	}
	if at != noPlace { // of an interrupted takeover, or begun at both
		t.update(at, 0, tag, old)
		return at
	}
	order := [2]int{0, 1}
	if t.same && t.from.lineOf(t.from.hashOf(&entry), 0) != old/int(tagsPerLine) {
		order = [2]int{1, 0}
	}
	at, why := t.to.enter(&entry, tag, order, second)
	if why != "" {
		t.lost["a connection of nat ("+why+")"]++
	}
	return at
}

// entry reads a connection of the old table, unless another one takes its place.
func (t *connectionsTakeover) entry(old int, tag uint64) (entry lbConnection, there bool) {
	t.read.convert(bytesOfConnection(&entry), t.from.bytes(old))
	return entry, sameLife(t.from.tag(old), tag)
}

// update does to a connection what the old program has done since it was seen, unless
// the new program knows better: it has brought it further than its beginning.
func (t *connectionsTakeover) update(at int, seen, tag uint64, old int) {
	if at == noPlace {
		return
	}
	entry, there := t.entry(old, tag)
	if !there {
		return
	}
	for {
		now := t.to.tag(at)
		state, ahead := tagState(now), tagState(tag) > tagState(now)
		if state != tagState(seen) && !(isHalfOpen(now) && ahead) {
			return
		}
		if state == tagState(tag) && int32(uint32(tag)-uint32(now)) <= 0 {
			return // and was silent for longer
		}
		if isHalfOpen(now) {
			t.to.entries[at].BackendIsn = entry.BackendIsn
		}
		if t.to.swap(at, now, withLife(now, tag)) {
			return
		}
	}
}
