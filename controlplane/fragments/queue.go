package fragments

import (
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// queue holds fragments by the packet that they are part of. It knows when to
// look for a packet's first fragment, and does nothing itself.
type queue struct {
	packets map[string]*packet
	count   int // fragments of all packets
}

type packet struct {
	key       string
	fragments []dataplane.Fragment // in the order in which they came
	since     time.Time
	look      time.Time // for the first, next
}

func (q *queue) add(f dataplane.Fragment, now time.Time) {
	p := q.packets[f.Key]
	if p == nil {
		p = &packet{key: f.Key, since: now, look: now.Add(firstLook)}
		q.packets[f.Key] = p
	}
	p.fragments = append(p.fragments, f)
	q.count++
}

// next is when to look again; zero if nothing is held.
func (q *queue) next() (at time.Time) {
	for _, p := range q.packets {
		if at.IsZero() || p.look.Before(at) {
			at = p.look
		}
	}
	return at
}

// due returns the packets whose first may have come by now.
func (q *queue) due(now time.Time) (due []*packet) {
	for _, p := range q.packets {
		if !p.look.After(now) {
			due = append(due, p)
		}
	}
	return due
}

// isLate tells whether nobody waits for a packet's first any more.
func (p *packet) isLate(now time.Time) bool { return now.Sub(p.since) >= patience }

// wait looks again after as long as the packet has waited already: so a first that
// comes soon is found soon, and one that never comes costs few looks.
func (p *packet) wait(now time.Time) {
	p.look = now.Add(max(firstLook, now.Sub(p.since)))
	if last := p.since.Add(patience); p.look.After(last) {
		p.look = last
	}
}

func (q *queue) remove(p *packet) {
	delete(q.packets, p.key)
	q.count -= len(p.fragments)
}
