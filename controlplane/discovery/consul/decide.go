package consul

import (
	"maps"
	"time"
)

// keepFor is how long an instance is kept that is missing from an answer which
// cannot be newer than the one it was in. Agents register their services again
// within a minute or two of finding them gone (anti-entropy; up to ten in a
// cluster of thousands).
const keepFor = 10 * time.Minute

// known is what a watch has accepted so far.
type known struct {
	loaded    bool              // false until the first accepted answer
	confirmed time.Time         // when Consul last vouched for all members
	members   []Instance        // sorted
	index     uint64            // of the answer that members are from
	kept      map[key]time.Time // members missing from that answer, and until when each is kept
}

// answer is what came of one question.
type answer struct {
	asked     Ask
	index     uint64
	filtered  bool // Consul said that access rules hid something
	anonymous bool // asked without a token where everything is denied by default
	members   []Instance
	err       error
	at        time.Time // when it arrived
}

// action is what to do with an answer.
type action int

const (
	accept  action = iota // it is the truth now
	ignore                // nothing new was learnt; a plain read should follow
	discard               // worthless, and so is the index: read again
	confirm               // ask again with Consistent and decide about that
	hold                  // an error: keep what is known, read again later
)

// decision is an action with its grounds. err is nil for accept and ignore.
type decision struct {
	action action
	err    error
}

// decide says what to do with an answer. It is the whole of the rules by which
// missing or doubtful evidence never removes a member.
func decide(have known, got answer) decision {
	watching := got.asked.Index > 0
	switch {
	case got.err != nil: // W4: whatever went wrong, the last view stands.
		return decision{hold, got.err}
	case got.filtered: // W5: part of an answer is no answer.
		return decision{hold, fault(Filtered, "Consul's access rules hide instances from this token")}
	case watching && got.index == got.asked.Index:
		// W2: a wait that ran out, or a streaming view that was reset; the
		// latter has an empty body, so no body is looked at.
		return decision{action: ignore}
	case watching && (got.index < got.asked.Index || got.index <= 1):
		// W3: the other side has forgotten what the index counted.
		return decision{discard, fault(HeldHistory, "Consul's index went back from %d to %d", got.asked.Index, got.index)}
	case got.index <= 1:
		// W3: an agent that has not heard from its servers answers thus.
		return decision{hold, fault(HeldEmpty, "Consul answers with index %d, so it has no data yet", got.index)}
	}
	if !shrunk(have, got) {
		return decision{action: accept}
	}
	switch {
	case got.anonymous:
		// Consul does not flag what it hides from the anonymous token, so not
		// even a consistent read tells "gone" from "hidden".
		return decision{hold, fault(Filtered, "Consul denies by default and no token is sent, so missing instances may only be hidden")}
	case !got.asked.Consistent: // W6: no good news from an empty hand.
		return decision{action: confirm}
	}
	return decision{action: accept}
}

// shrunk says that an answer is empty or lacks more than half of the members. For an
// anonymous read one is enough. Members that are being kept are not missed again.
func shrunk(have known, got answer) bool {
	if !have.loaded {
		return len(got.members) == 0
	}
	there := keys(got.members)
	members, lost := 0, 0
	for _, m := range have.members {
		if until, ok := have.kept[m.key()]; ok && got.at.Before(until) {
			continue
		}
		members++
		if !there[m.key()] {
			lost++
		}
	}
	if got.anonymous || len(got.members) == 0 {
		return lost > 0
	}
	return lost*2 > members
}

// adopt makes an accepted answer what is known. A removal that really happened
// came after the answer that had the member, so its index is higher. Where it is
// not, the history has changed (a snapshot was restored, a cluster started
// anew), and members missing from it are kept for a while; those that are there
// are believed, above all when they are critical.
func (have known) adopt(got answer) known {
	next := known{loaded: true, confirmed: got.at, index: got.index, members: got.members, kept: map[key]time.Time{}}
	there := keys(got.members)
	for _, m := range have.members {
		if there[m.key()] {
			continue
		}
		until, already := have.kept[m.key()]
		if !already && got.index <= have.index {
			until = got.at.Add(keepFor)
		}
		if got.at.Before(until) {
			next.kept[m.key()] = until
			next.members = append(next.members[:len(next.members):len(next.members)], m)
		}
	}
	if len(next.kept) > 0 {
		next.confirmed = have.confirmed
	}
	sortInstances(next.members)
	return next
}

// doubt is the error under which a view is shown while members are being kept.
func (have known) doubt() error {
	if len(have.kept) == 0 {
		return nil
	}
	var last time.Time
	for until := range maps.Values(have.kept) {
		if until.After(last) {
			last = until
		}
	}
	return fault(HeldHistory, "%d instances are missing from an answer that is not newer than the last; keeping them until %s",
		len(have.kept), last.Format(time.TimeOnly))
}

func keys(members []Instance) map[key]bool {
	out := make(map[key]bool, len(members))
	for _, m := range members {
		out[m.key()] = true
	}
	return out
}
