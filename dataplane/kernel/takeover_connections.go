package kernel

import (
	"slices"

	"github.com/cilium/ebpf"
)

// isOfConnections tells the maps that make up the table of nat's connections:
// they belong together.
func isOfConnections(name string) bool {
	return slices.Contains([]string{lbMapConnections, lbMapConnectionTags, lbMapConnectionReplies}, name)
}

// sharesConnections tells whether the new program can use the old table of
// connections, as both then do while links are switched, and nothing is lost.
func sharesConnections(from *generation, want *ebpf.CollectionSpec, secret uint64) bool {
	shares := from.version == lbLayoutVersionLAYOUT_VERSION && from.secret == secret
	for name, spec := range want.Maps {
		if !isOfConnections(name) {
			continue
		}
		old, was := from.tables[name]
		shares = shares && was && sameKept(spec.Value, old.value) && spec.Compatible(old.Map) == nil
	}
	return shares
}

// noticeConnections says that they are lost, if there was room for any. Of
// another size or hash all would have other places, and their ports with them.
func (t *takeover) noticeConnections() {
	old, was := t.from.tables[lbMapConnections]
	new, is := t.to.tables[lbMapConnections]
	if was && is && old.MaxEntries() > LeastConnections && !sameMap(old.Map, new.Map) {
		t.lost["connections of nat (their table is of another size, or the hash secret is another one)"]++
	}
}
