package nexthop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netns"
)

// grace is how long the last word stands while a neighbour is being asked: one
// that is there answers within milliseconds, or to the kernel's second question
// after a second where the first was lost, and a flushed ARP table should move
// no flow. A neighbour that the kernel has given up on gets none.
const grace = 1500 * time.Millisecond

// afterLink is when routes are looked at once more after a link has changed.
// The kernel tells of a link that goes down before it drops the link's IPv4
// routes, and does not tell of the drop.
const afterLink = 100 * time.Millisecond

// afterLoss is the pause before subscribing again, so that a kernel that
// always loses events costs little.
const afterLoss = 100 * time.Millisecond

// Options are a Watcher's; the zero value works.
type Options struct {
	// Changed hears of the first resolution of each address, usable or not, and
	// of every other one after it. Calls come one after another from Run. It must
	// not block.
	Changed func(netip.Addr, Resolution)
	// Namespace is the network namespace to watch; nil is that of the process.
	Namespace *netns.NsHandle
	Log       *slog.Logger // nil is silent
}

// Watcher keeps the resolutions of the addresses that it was last given.
type Watcher struct {
	changed func(netip.Addr, Resolution)
	open    func() (kernel, error)
	log     *slog.Logger
	poke    chan struct{} // Set → Run

	mu      sync.Mutex
	wanted  map[netip.Addr]bool
	ingress []Ingress
	told    map[netip.Addr]Resolution
}

// kernel is what a Watcher asks of the host's network stack.
type kernel interface {
	// Subscribe returns what changes from now on. The channel is closed when ctx
	// is over, and when events were lost.
	Subscribe(ctx context.Context) (<-chan []event, error)
	// List returns every link and neighbour there is.
	List() ([]Link, []Neighbour, error)
	// Route asks for the route of one address.
	Route(netip.Addr) (Route, error)
	// Ask lets the kernel ask a neighbour for its MAC now, and keep it where it can.
	Ask(hop) error
	// Release ends the keeping.
	Release(hop) error
	Close()
}

// New returns a Watcher without addresses, which watches once Run is called.
func New(o Options) *Watcher {
	if o.Changed == nil {
		o.Changed = func(netip.Addr, Resolution) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{
		changed: o.Changed,
		open:    func() (kernel, error) { return openNetlink(o.Namespace) },
		log:     o.Log,
		poke:    make(chan struct{}, 1),
		told:    map[netip.Addr]Resolution{},
	}
}

// Set says which addresses to resolve, and by which interfaces packets for them
// arrive. Addresses that were there before keep their resolution.
func (w *Watcher) Set(addrs []netip.Addr, ingress []Ingress) {
	wanted := make(map[netip.Addr]bool, len(addrs))
	for _, addr := range addrs {
		wanted[addr.Unmap()] = true
	}
	w.mu.Lock()
	w.wanted, w.ingress = wanted, slices.Clone(ingress)
	w.mu.Unlock()
	select {
	case w.poke <- struct{}{}:
	default: // Run has not yet seen the last one, and will see this with it
	}
}

// Lookup returns the resolution of an address, and whether there is one yet:
// a new address has none until its neighbour has answered, or the grace of one and
// a half seconds is over.
func (w *Watcher) Lookup(addr netip.Addr) (Resolution, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, known := w.told[addr.Unmap()]
	return r, known
}

// Run watches until ctx is over. A lost subscription is made again, and
// everything looked up anew.
func (w *Watcher) Run(ctx context.Context) error {
	k, err := w.open()
	if err != nil {
		return fmt.Errorf("watching next hops: %w", err)
	}
	defer k.Close()
	ways := newWays(k)
	defer ways.releaseAll()
	for {
		err := w.follow(ctx, ways)
		if ctx.Err() != nil {
			return nil
		}
		w.log.Warn("subscribing to routes, neighbours and links again", "reason", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(afterLoss):
		}
	}
}

var errLost = errors.New("the kernel dropped events, because too many came at once")

// follow takes one subscription from its beginning to its loss.
func (w *Watcher) follow(ctx context.Context, ways *ways) error {
	ctx, cancel := context.WithCancel(ctx)
	// Subscribed before listed: what changes in between is then told twice, not never.
	events, err := ways.kernel.Subscribe(ctx)
	if err != nil {
		cancel()
		return fmt.Errorf("subscribing to the kernel's events: %w", err)
	}
	defer func() { // the reader ends before we do
		cancel()
		for range events {
		}
	}()
	if err := ways.list(); err != nil {
		return fmt.Errorf("listing links and neighbours: %w", err)
	}
	w.adopt(ways)
	for {
		news, next := ways.settle(time.Now())
		w.tell(news)
		select {
		case <-ctx.Done():
			return nil
		case <-w.poke:
			w.adopt(ways)
		case <-until(next):
		case batch, ok := <-events:
			for more := true; more; { // all that waits, so that a storm is settled once
				if !ok {
					return errLost
				}
				ways.take(batch, time.Now())
				select {
				case batch, ok = <-events:
				default:
					more = false
				}
			}
		}
	}
}

// adopt takes over what Set has said.
func (w *Watcher) adopt(ways *ways) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ways.want(w.wanted, w.ingress, w.told)
}

func (w *Watcher) tell(news []told) {
	for _, n := range news {
		w.mu.Lock()
		wanted := w.wanted[n.addr]
		if wanted {
			w.told[n.addr] = n.Resolution
		}
		w.mu.Unlock()
		if wanted {
			w.changed(n.addr, n.Resolution)
		}
	}
}

// until is a channel that fires at a time, and never for the zero time.
func until(t time.Time) <-chan time.Time {
	if t.IsZero() {
		return nil
	}
	return time.After(time.Until(t))
}
