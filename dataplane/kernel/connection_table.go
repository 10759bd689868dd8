package kernel

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/dataplane"
)

// connectionTable is the table of nat's connections in memory, as claim.h and ports.h
// use it: for a takeover, which enters connections of another table while a program
// may be doing the same.
type connectionTable struct {
	maps    [3]*ebpf.Map // connections, tags, replies
	regions [][]byte
	stride  int // of an entry

	tags, replies []uint64
	entries       []lbConnection // of a table laid out as today's
	hash          dataplane.Hash
}

const (
	tagDigestShift        = tagLifeBits + tagGenerationBits
	replyIndexBits        = 32
	replyDigestShift      = replyIndexBits + tagGenerationBits
	generationMask        = 1<<tagGenerationBits - 1
	lifeMask              = 1<<tagLifeBits - 1
	claimSeconds          = 2
	secondLineShift  uint = 22
)

func newConnectionTable(g *generation, secret uint64) *connectionTable {
	t := &connectionTable{hash: dataplane.NewHash(secret)}
	for i, name := range []string{lbMapConnections, lbMapConnectionTags, lbMapConnectionReplies} {
		t.maps[i] = g.tables[name].Map
	}
	return t
}

func (t *connectionTable) open() error {
	for _, m := range t.maps {
		if m == nil {
			return errors.New("a table of connections lacks a map")
		}
		memory, err := mapRegion(m)
		if err != nil {
			return err
		}
		t.regions = append(t.regions, memory)
	}
	t.stride = stride(t.maps[0])
	t.tags, t.replies = words[uint64](t.regions[1]), words[uint64](t.regions[2])
	if t.stride == int(unsafe.Sizeof(lbConnection{})) {
		t.entries = unsafe.Slice((*lbConnection)(unsafe.Pointer(unsafe.SliceData(t.regions[0]))), len(t.tags))
	}
	return nil
}

func (t *connectionTable) close() error {
	var failures []error
	for _, region := range t.regions {
		failures = append(failures, unix.Munmap(region))
	}
	t.regions, t.tags, t.replies, t.entries = nil, nil, nil, nil
	return errors.Join(failures...)
}

func (t *connectionTable) bytes(i int) []byte { return t.regions[0][i*t.stride:][:t.stride] }

func bytesOfConnection(entry *lbConnection) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(entry)), unsafe.Sizeof(*entry))
}

func (t *connectionTable) tag(i int) uint64 { return atomic.LoadUint64(&t.tags[i]) }

func (t *connectionTable) swap(i int, seen, tag uint64) bool {
	return atomic.CompareAndSwapUint64(&t.tags[i], seen, tag)
}

// sameLife tells whether two words of one entry are of one connection. Its digest
// goes when it is retired.
func sameLife(tag, seen uint64) bool {
	return seen != 0 && tagGeneration(tag) == tagGeneration(seen) && tagState(tag) != lbConnectionStateCONNECTION_FREE &&
		tagState(seen) != lbConnectionStateCONNECTION_FREE && tagState(seen) != lbConnectionStateCONNECTION_CLAIMED
}

func tagGeneration(tag uint64) uint64 { return tag >> tagLifeBits & generationMask }

// lifeOf is state and expiry.
func lifeOf(tag uint64) uint64 { return tag & lifeMask }

func makeTag(digest, generation uint64, state lbConnectionState, expires uint32) uint64 {
	return digest<<tagDigestShift | generation&generationMask<<tagLifeBits | uint64(state)<<tagExpiryBits | uint64(expires)
}

// withLife is a connection's word with the life of another.
func withLife(tag, life uint64) uint64 {
	tag = tag&^lifeMask | lifeOf(life)
	if tagState(tag) == lbConnectionStateCONNECTION_RETIRED {
		tag &= 1<<tagDigestShift - 1 // nobody's packets find it
	}
	return tag
}

func isHalfOpen(tag uint64) bool {
	state := tagState(tag)
	return state != lbConnectionStateCONNECTION_FREE && state <= lbConnectionStateCONNECTION_ANSWERED
}

func (t *connectionTable) hashOf(entry *lbConnection) uint64 {
	client := netip.AddrPortFrom(decodeAddress(entry.Client), decodePort(entry.ClientPort))
	return t.hash.Flow(client, dataplane.VIP{
		Addr: decodeAddress(entry.Vip), Port: decodePort(entry.VipPort), Protocol: dataplane.Protocol(entry.Protocol),
	})
}

// lineOf is one of the two lines of tags that a connection may be in.
func (t *connectionTable) lineOf(hash uint64, second int) int {
	lines := len(t.tags) / int(tagsPerLine)
	return int(hash>>(secondLineShift*uint(second))) & (lines - 1)
}

// placeOf is the one place of a connection's port, and what its word begins with.
func (t *connectionTable) placeOf(entry *lbConnection) (place int, digest uint64) {
	backend := netip.AddrPortFrom(decodeAddress(entry.BackendAddress), decodePort(entry.BackendPort))
	hash := t.hash.Port(backend, decodeAddress(entry.Source), dataplane.Protocol(entry.Protocol))
	port, lines := uint32(decodePort(entry.SourcePort)), uint32(len(t.replies))/tagsPerLine
	step := uint32(hash>>32) | 1
	return int((uint32(hash)+port/tagsPerLine*step)&(lines-1)*tagsPerLine + port%tagsPerLine), hash >> replyDigestShift
}

// find is where the connection of an entry's client is, if it is not over.
func (t *connectionTable) find(entry *lbConnection, second uint32) int {
	hash := t.hashOf(entry)
	for choice := range 2 {
		first := t.lineOf(hash, choice) * int(tagsPerLine)
		for i := first; i < first+int(tagsPerLine); i++ {
			tag := t.tag(i)
			if tag>>tagDigestShift != hash>>tagDigestShift || !tagLives(tag, second) {
				continue
			}
			if state := tagState(tag); state == lbConnectionStateCONNECTION_CLAIMED || state == lbConnectionStateCONNECTION_RETIRED {
				continue
			}
			if isOfClient(&t.entries[i], entry) {
				return i
			}
		}
	}
	return noPlace
}

// holder is where the connection is that has an entry's port for the same client.
func (t *connectionTable) holder(entry *lbConnection, second uint32) int {
	place, digest := t.placeOf(entry)
	reply := atomic.LoadUint64(&t.replies[place])
	if at := int(uint32(reply)); reply>>replyDigestShift == digest && at < len(t.tags) && !t.isStale(reply, second) && isOfClient(&t.entries[at], entry) {
		return at
	}
	return noPlace
}

func isOfClient(one, other *lbConnection) bool {
	return one.Client == other.Client && one.Vip == other.Vip && one.ClientPort == other.ClientPort &&
		one.VipPort == other.VipPort && one.Protocol == other.Protocol
}

// enter takes a place for a connection and its port, in the order of lines given. It
// says why it could not. What is half open is not pushed out for it.
func (t *connectionTable) enter(entry *lbConnection, tag uint64, order [2]int, second uint32) (at int, why string) {
	hash := t.hashOf(entry)
	at, claimed := t.claim(hash, order, second)
	if at == noPlace {
		return at, "its places are taken"
	}
	place, digest := t.placeOf(entry)
	entry.Reply = uint32(place)
	t.entries[at] = *entry
	mine := digest<<replyDigestShift | tagGeneration(claimed)<<replyIndexBits | uint64(at)
	if !t.claimPort(place, mine, second) {
		t.swap(at, claimed, makeTag(0, tagGeneration(claimed), lbConnectionStateCONNECTION_FREE, 0))
		return noPlace, "its port's place is taken"
	}
	if !t.swap(at, claimed, withLife(claimed, tag)) {
		return noPlace, "its claim was too slow"
	}
	return at, ""
}

// claim takes the first free or expired entry of the lines.
func (t *connectionTable) claim(hash uint64, order [2]int, second uint32) (at int, tag uint64) {
	for _, choice := range order {
		first := t.lineOf(hash, choice) * int(tagsPerLine)
		for i := first; i < first+int(tagsPerLine); i++ {
			seen := t.tag(i)
			if tagLives(seen, second) {
				continue
			}
			tag := makeTag(hash>>tagDigestShift, tagGeneration(seen)+1, lbConnectionStateCONNECTION_CLAIMED, second+claimSeconds)
			if !t.swap(i, seen, tag) {
				continue
			}
			if tagState(seen) != lbConnectionStateCONNECTION_FREE {
				t.freePort(i, tagGeneration(seen))
			}
			return i, tag
		}
	}
	return noPlace, 0
}

func (t *connectionTable) freePort(at int, generation uint64) {
	place := &t.replies[int(t.entries[at].Reply)%len(t.replies)]
	seen := atomic.LoadUint64(place)
	if uint32(seen) == uint32(at) && seen>>replyIndexBits&generationMask == generation {
		atomic.CompareAndSwapUint64(place, seen, 0)
	}
}

func (t *connectionTable) claimPort(place int, mine uint64, second uint32) bool {
	seen := atomic.LoadUint64(&t.replies[place])
	return (seen == 0 || t.isStale(seen, second)) && atomic.CompareAndSwapUint64(&t.replies[place], seen, mine)
}

// isStale tells whether nobody has a port any more, as is_stale of ports.h.
func (t *connectionTable) isStale(reply uint64, second uint32) bool {
	at := int(uint32(reply))
	if at >= len(t.tags) {
		return true
	}
	tag := t.tag(at)
	if tagGeneration(tag) != reply>>replyIndexBits&generationMask {
		return true
	}
	return !tagLives(tag, second) && t.swap(at, tag, makeTag(0, tagGeneration(tag)+1, lbConnectionStateCONNECTION_FREE, 0))
}

// end takes a connection out that is over in the table it came from, if nothing
// happened to it here.
func (t *connectionTable) end(at int, seen uint64) {
	if at == noPlace {
		return
	}
	if tag := t.tag(at); lifeOf(tag) == lifeOf(seen) && t.swap(at, tag, makeTag(0, tagGeneration(tag), lbConnectionStateCONNECTION_FREE, 0)) {
		t.freePort(at, tagGeneration(tag))
	}
}

// fill takes all places that are free, for nobody.
func (t *connectionTable) fill(second, until uint32) {
	for i := range t.tags {
		if seen := t.tag(i); !tagLives(seen, second) {
			t.swap(i, seen, makeTag(0, tagGeneration(seen)+1, lbConnectionStateCONNECTION_CLAIMED, until))
		}
	}
}

// clear empties a table that nobody uses.
func (t *connectionTable) clear() {
	clear(t.tags)
	clear(t.replies)
}
