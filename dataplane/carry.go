package dataplane

import "sync/atomic"

// What follows carries a flow table over into one as large, or larger by a power
// of two, while programs use both.

// CopyOf fills m, which no program uses yet, with what an old table remembers,
// and returns what that was. A bucket goes to all the buckets that share its bits
// of the hash, so that none is fuller than it was; of the copies, those that no
// packet finds expire.
func (m Flows) CopyOf(old Flows) (copied []uint64) {
	copied = make([]uint64, len(old))
	for i := range old {
		word := atomic.LoadUint64(&old[i])
		if Flow(word).Backend() == NoBackend {
			word = 0
		}
		copied[i] = word
		for at := i; at < len(m); at += len(old) {
			atomic.StoreUint64(&m[at], word)
		}
	}
	return copied
}

// Fill lets no more flows be remembered until a second: all that is free is taken
// by flows of nobody.
func (m Flows) Fill(second, until uint32) {
	nobody := uint64(MakeFlow(1<<digestBits-1, NoBackend, false, until))
	for i := range m {
		if word := atomic.LoadUint64(&m[i]); word == 0 || Flow(word).Expired(second) {
			atomic.CompareAndSwapUint64(&m[i], word, nobody)
		}
	}
}

// Merge takes over what a program did in an old table since it was copied: flows
// that it renewed, moved, learnt or forgot. What another program has done in m
// since then is newer and stays. Copied may be nil where it is not known.
func (m Flows) Merge(old Flows, copied []uint64, second uint32) {
	for start := 0; start < len(old); start += FlowsPerBucket {
		was := bucketOf(copied, start)
		for at := start; at < len(m); at += len(old) {
			m[at:][:FlowsPerBucket].mergeBucket(old[start:][:FlowsPerBucket], was, second)
		}
	}
}

func bucketOf(copied []uint64, start int) []uint64 {
	if copied == nil {
		return nil
	}
	return copied[start:][:FlowsPerBucket]
}

func (m Flows) mergeBucket(old Flows, copied []uint64, second uint32) {
	for i := range old {
		word, was := atomic.LoadUint64(&old[i]), uint64(0)
		if copied != nil {
			was = copied[i]
		}
		flow, before := Flow(word), Flow(was)
		if was != 0 && (flow.Digest() != before.Digest() || word == 0) && !old.has(before.Digest(), second) {
			m.replace(was, 0)
		}
		if word != 0 && word != was && flow.Backend() != NoBackend && !flow.Expired(second) {
			m.learn(flow, copied, second)
		}
	}
}

// learn puts a flow that the old table remembers where it is not known better.
func (m Flows) learn(flow Flow, copied []uint64, second uint32) {
	for i := range m {
		word := atomic.LoadUint64(&m[i])
		held := Flow(word)
		if word == 0 || held.Expired(second) || held.Digest() != flow.Digest() {
			continue
		}
		if held.Backend() == flow.Backend() && held.earlier(flow) || isOneOf(word, copied) {
			atomic.CompareAndSwapUint64(&m[i], word, uint64(flow))
		}
		return
	}
	for i := range m {
		word := atomic.LoadUint64(&m[i])
		if (word == 0 || Flow(word).Expired(second)) && atomic.CompareAndSwapUint64(&m[i], word, uint64(flow)) {
			return
		}
	}
}

// earlier tells whether a flow expires before another does.
func (f Flow) earlier(other Flow) bool {
	return (uint32(other)-uint32(f))&(1<<expiryBits-1) <= MaxIdleSeconds && uint32(other)&(1<<expiryBits-1) != uint32(f)&(1<<expiryBits-1)
}

func (m Flows) has(digest uint64, second uint32) bool {
	for i := range m {
		word := atomic.LoadUint64(&m[i])
		if word != 0 && !Flow(word).Expired(second) && Flow(word).Digest() == digest {
			return true
		}
	}
	return false
}

func (m Flows) replace(word, with uint64) {
	for i := range m {
		if atomic.CompareAndSwapUint64(&m[i], word, with) {
			return
		}
	}
}

func isOneOf(word uint64, of []uint64) bool {
	for _, other := range of {
		if word == other {
			return true
		}
	}
	return false
}
