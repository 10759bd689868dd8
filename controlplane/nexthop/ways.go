package nexthop

import (
	"net/netip"
	"slices"
	"time"
)

// event is one thing that the kernel told: a linkEvent, a neighbourEvent or a
// routeEvent.
type event any

type linkEvent struct {
	Link
	gone bool
}

type neighbourEvent struct {
	Neighbour
	gone bool
}

// routeEvent says that routes within a prefix may be other than before. The
// zero prefix stands for all: an address or a rule has changed.
type routeEvent struct{ netip.Prefix }

// ways is everything that Run knows. Only Run touches it.
type ways struct {
	world
	kernel kernel
	asking asking
	of     map[netip.Addr]*way
	look   time.Time // when to look at every route once more, zero for never
	stale  bool      // something has happened since the last settle
	next   time.Time // when the last settle wanted to be called again, zero for never
}

// way is what is known of one address.
type way struct {
	route   Route
	routed  bool // route is as the kernel has it
	hop     hop  // the neighbour it stands on, zero without one
	heard   hop  // the neighbour that last answered
	said    Resolution
	known   bool      // said has been told
	waiting time.Time // since when hop has been silent or its interface dark, zero when it is not
}

// told is a resolution that is other than the last one.
type told struct {
	addr netip.Addr
	Resolution
}

func newWays(k kernel) *ways {
	return &ways{kernel: k, asking: asking{}, of: map[netip.Addr]*way{}}
}

// list reads the world anew and forgets all routes.
func (w *ways) list() error {
	links, neighbours, err := w.kernel.List()
	if err != nil {
		return err
	}
	w.links, w.neighbours = map[int]Link{}, map[hop]Neighbour{}
	for _, l := range links {
		w.links[l.Index] = l
	}
	for _, n := range neighbours {
		w.neighbours[n.hop] = n
	}
	w.forgetRoutes(netip.Prefix{})
	return nil
}

// want takes up new addresses and drops others, also from what was told.
func (w *ways) want(addrs map[netip.Addr]bool, ingress []Ingress, said map[netip.Addr]Resolution) {
	w.stale, w.ingress = true, ingress
	for addr := range addrs {
		if w.of[addr] == nil {
			w.of[addr] = &way{}
		}
	}
	for addr := range w.of {
		if !addrs[addr] {
			delete(w.of, addr)
			delete(said, addr)
		}
	}
}

// take notes what the kernel told.
func (w *ways) take(batch []event, now time.Time) {
	for _, e := range batch {
		switch e := e.(type) {
		case linkEvent:
			w.links[e.Index] = e.Link
			if e.gone {
				delete(w.links, e.Index)
			}
			w.forgetRoutes(netip.Prefix{})
			w.look = now.Add(afterLink)
		case neighbourEvent:
			w.takeNeighbour(e)
		case routeEvent:
			w.forgetRoutes(e.Prefix)
		}
	}
}

// takeNeighbour notes a neighbour. Most events are a MAC that was confirmed, or
// about hosts that are no next hop: nothing needs to be settled for them.
func (w *ways) takeNeighbour(e neighbourEvent) {
	before := w.neighbours[e.hop]
	w.neighbours[e.hop] = e.Neighbour
	if e.gone {
		delete(w.neighbours, e.hop)
	}
	now := w.neighbours[e.hop]
	same := before.State == now.State && before.Managed == now.Managed && slices.Equal(before.MAC, now.MAC)
	if w.asking[e.hop] != nil && !same {
		w.stale = true
	}
}

func (w *ways) forgetRoutes(within netip.Prefix) {
	for addr, way := range w.of {
		if !within.IsValid() || within.Contains(addr) {
			way.routed, w.stale = false, true
		}
	}
}

// settle brings every way up to date: it asks the kernel for the routes that
// are not known, resolves, and asks neighbours. It returns what has changed,
// and when to call it again even if nothing happens, or zero.
func (w *ways) settle(now time.Time) (news []told, next time.Time) {
	if !w.stale && (w.next.IsZero() || now.Before(w.next)) {
		return nil, w.next
	}
	if !w.look.IsZero() && !now.Before(w.look) {
		w.look = time.Time{}
		w.forgetRoutes(netip.Prefix{})
	}
	hops := map[hop]bool{}
	for addr, way := range w.of {
		found := w.find(addr, way, now)
		if found.hop != (hop{}) {
			hops[found.hop] = true
		}
		if again := way.waitsUntil(found, now); !again.IsZero() {
			next = sooner(next, again)
			continue
		}
		if !way.known || found.Resolution != way.said {
			way.said, way.known = found.Resolution, true
			news = append(news, told{addr, found.Resolution})
		}
	}
	w.stale, w.next = false, sooner(sooner(next, w.look), w.ask(hops, now))
	return news, w.next
}

// ask keeps the neighbours resolved that ways stand on, releases others, and
// tells when to do so again, or zero.
func (w *ways) ask(hops map[hop]bool, now time.Time) (next time.Time) {
	for _, h := range w.asking.want(hops) {
		w.release(h)
	}
	due, next := w.asking.due(now, w.neighbours)
	for _, h := range due {
		// What the kernel objects to shows in the neighbour's silence; it is asked
		// again as if it had not answered.
		_ = w.kernel.Ask(h)
	}
	return next
}

// find resolves one address, by its known route or by asking for one.
func (w *ways) find(addr netip.Addr, way *way, now time.Time) answer {
	if !way.routed {
		route, err := w.kernel.Route(addr)
		switch {
		case err == nil:
			way.route, way.routed = route, true
		case way.route == Route{}:
			w.look = sooner(w.look, now.Add(firstRetry))
			return problem("asking the kernel for the route to %s: %v", addr, err)
		default: // no evidence against the route that was there before
			w.look = sooner(w.look, now.Add(firstRetry))
		}
	}
	return w.resolve(addr, way.route, way.said)
}

// waitsUntil is when the last word falls if the neighbour stays silent, or the
// interface that the route has moved to dark; zero where what was found is to be
// told now. An interface that comes up gets its routes at once, and its carrier
// within a second: until then the other way is no worse than it was.
func (y *way) waitsUntil(found answer, now time.Time) time.Time {
	another := found.hop != y.hop
	y.hop = found.hop
	rising := found.dark && y.known && y.said.Problem == "" && y.said.Index != found.Index
	if !found.silent && !rising {
		y.waiting, y.heard = time.Time{}, found.hop
		return time.Time{}
	}
	if found.failed && found.hop == y.heard {
		return time.Time{} // it answered before, and now the kernel has asked in vain
	}
	if another || y.waiting.IsZero() {
		y.waiting = now
	}
	if until := y.waiting.Add(grace); now.Before(until) {
		return until
	}
	return time.Time{}
}

// release hands a neighbour back to the kernel's ordinary care. A fixed one
// was never taken: the request would turn it into an ordinary one.
func (w *ways) release(h hop) {
	if n := w.neighbours[h]; n.Managed && n.State != Fixed {
		_ = w.kernel.Release(h) // a neighbour that is gone needs none
	}
}

func (w *ways) releaseAll() {
	for h := range w.asking {
		w.release(h)
	}
}

// sooner is the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
