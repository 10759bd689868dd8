package nexthop

import "time"

// The pace of asking for MACs. The kernel itself spends three seconds on a
// neighbour that does not answer; a failed one makes no more events by itself,
// so it is asked again.
const (
	firstRetry = time.Second
	lastRetry  = 10 * time.Second
	// refresh keeps alive what the kernel does not (before Linux 5.16): well
	// within the minute after which unused entries are thrown away.
	refresh = 30 * time.Second
)

// asking says when to ask which neighbour. It is a plain value: the caller has
// the clock.
type asking map[hop]*ask

type ask struct {
	next   time.Time // zero is now
	tries  int       // in vain
	usable bool
}

// want makes hops the ones to keep resolved, and returns those that no longer are.
func (a asking) want(hops map[hop]bool) []hop {
	var dropped []hop
	for h := range a {
		if !hops[h] {
			delete(a, h)
			dropped = append(dropped, h)
		}
	}
	for h := range hops {
		if a[h] == nil {
			a[h] = &ask{}
		}
	}
	return dropped
}

// due returns the neighbours to ask now, counts them as asked, and tells when
// the next is due: the zero time for never.
func (a asking) due(now time.Time, neighbours map[hop]Neighbour) (hops []hop, next time.Time) {
	for h, k := range a {
		n := neighbours[h]
		if n.State == Fixed || n.usable() && n.Managed {
			k.usable, k.tries = true, 0
			continue
		}
		switch {
		case n.usable() && !k.usable:
			if k.usable = true; k.tries > 0 {
				k.next = now.Add(refresh)
			}
			k.tries = 0
		case !n.usable() && k.usable:
			k.usable, k.next = false, now
		}
		if !k.next.After(now) {
			hops = append(hops, h)
			k.next = now.Add(k.pause())
		}
		if next.IsZero() || k.next.Before(next) {
			next = k.next
		}
	}
	return hops, next
}

// pause is the time until the next ask after this one.
func (k *ask) pause() time.Duration {
	if k.usable {
		return refresh
	}
	k.tries++
	return min(firstRetry<<min(k.tries-1, 10), lastRetry)
}
