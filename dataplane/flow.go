package dataplane

import "sync/atomic"

// Flows is the memory of the flow table: buckets of eight flows, each a word,
// as struct flow_bucket in bpf/types.h describes. A word of zero is free. The
// program writes at the same time; so everything here is atomic.
type Flows []uint64

// The layout of a flow, from its lowest bit: the second when it expires, whether
// only its SYN was seen, the index of its backend, a digest. A test in
// dataplane/kernel reads what the program has written.
const (
	FlowsPerBucket = 8
	expiryBits     = 14
	synOnlyBits    = 1
	indexBits      = 20
	digestBits     = 29

	indexShift  = expiryBits + synOnlyBits
	digestShift = indexShift + indexBits
)

// MaxBackends is how many indexes a flow has room to name.
const MaxBackends = 1 << indexBits

// MaxIdleSeconds is the longest idle timeout: seconds are kept on a circle, of
// which half is the future.
const MaxIdleSeconds = 1<<(expiryBits-1) - 1

// Flow is one word of the flow table.
type Flow uint64

// MakeFlow is a flow of a digest (its highest bits are dropped).
func MakeFlow(digest uint64, index uint32, synOnly bool, expires uint32) Flow {
	flow := digest<<digestShift | uint64(index)<<indexShift | uint64(expires&(1<<expiryBits-1))
	if synOnly {
		flow |= 1 << expiryBits
	}
	return Flow(flow)
}

// Digest is what tells the flow from others in its bucket.
func (f Flow) Digest() uint64 { return uint64(f) >> digestShift }

// Backend is the index of the backend that the flow belongs to.
func (f Flow) Backend() uint32 { return uint32(f>>indexShift) & (1<<indexBits - 1) }

// SYNOnly tells whether nothing but a SYN was seen of the flow.
func (f Flow) SYNOnly() bool { return f>>expiryBits&1 == 1 }

// Expired tells whether the flow is over at a second of the monotonic clock.
func (f Flow) Expired(second uint32) bool {
	return (uint32(f)-second)&(1<<expiryBits-1) > MaxIdleSeconds
}

// Census is what a look through the flow table finds.
type Census struct {
	Flows       int            // remembered: of a living backend and not expired
	Connections int            // of nat, likewise
	ByBackend   map[uint32]int // those not expired, of dead backends too, by index
	Cleared     int            // entries that were freed
}

// Sweep frees the entries of expired flows, before the circle of seconds makes
// them look young again, and those that name a backend which is not alive. It
// frees only what it has seen: the program may put another flow there meanwhile.
func (m Flows) Sweep(second uint32, alive func(uint32) bool) Census {
	census := Census{}
	var found tallies
	for i := range m {
		word := atomic.LoadUint64(&m[i])
		if word == 0 {
			continue
		}
		flow, of := Flow(word), (*tally)(nil)
		if !flow.Expired(second) {
			of = found.add(flow.Backend(), alive)
		}
		if of != nil && of.alive {
			census.Flows++
		} else if atomic.CompareAndSwapUint64(&m[i], word, 0) {
			census.Cleared++
		}
	}
	census.ByBackend = found.byBackend()
	return census
}

// tallies are counts by index, in an array and not in a map because there are
// millions of flows.
type tallies []tally

type tally struct {
	flows int
	alive bool // asked once
}

func (t *tallies) add(index uint32, alive func(uint32) bool) *tally {
	if int(index) >= len(*t) {
		*t = append(*t, make(tallies, int(index)+1-len(*t))...)
	}
	of := &(*t)[index]
	if of.flows == 0 {
		of.alive = alive(index)
	}
	of.flows++
	return of
}

func (t tallies) byBackend() map[uint32]int {
	counts := make(map[uint32]int)
	for index, of := range t {
		if of.flows > 0 {
			counts[uint32(index)] = of.flows
		}
	}
	return counts
}

// named tells for each index whether a flow names it, even one that has expired.
func (m Flows) named() []bool {
	named := make([]bool, MaxBackends)
	for i := range m {
		if word := atomic.LoadUint64(&m[i]); word != 0 {
			named[Flow(word).Backend()] = true
		}
	}
	return named
}
