package controlplane

import (
	"net/netip"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// inbox is where the parts leave what has changed for the loop. News of one
// thing replace older news of it, so a burst is one look at the whole and the
// inbox cannot grow without bound.
type inbox struct {
	poke chan struct{} // holds one value while there is something to take

	mu   sync.Mutex
	mail mail
}

// mail is what came since the loop last looked.
type mail struct {
	arrived time.Time              // of the first; zero if there is none
	views   map[string]consul.View // by watch
	loaded  *loaded
	links   bool // an interface changed
	plans   []planning
	news    news
}

// loaded is the outcome of reading the configuration again.
type loaded struct {
	file     *config.File // nil if err is not
	warnings []string     // for the log: what they warn of is seen in the status as it goes on
	pending  []string     // what only takes effect at the next start
	err      error
	at       time.Time
	taken    chan struct{} // closed when the loop has acted on it; nil where nobody waits
}

func newInbox() *inbox {
	return &inbox{poke: make(chan struct{}, 1)}
}

// put adds to the mail under the lock and wakes the loop.
func (b *inbox) put(add func(*mail)) {
	b.mu.Lock()
	if b.mail.arrived.IsZero() {
		b.mail.arrived = time.Now()
	}
	add(&b.mail)
	b.mu.Unlock()
	select {
	case b.poke <- struct{}{}:
	default: // the loop has not yet taken the last one, and will take this with it
	}
}

// judged tells that a verdict has changed, and resolved that a next hop has; the
// loop asks for those.
func (b *inbox) judged(service string) { b.put(func(m *mail) { m.news.of(service) }) }

func (b *inbox) resolved(addr netip.Addr) { b.put(func(m *mail) { m.news.wayTo(addr) }) }

// changed tells that something has, and not what.
func (b *inbox) changed() { b.put(func(m *mail) { m.news.all = true }) }

func (b *inbox) viewed(v consul.View) {
	b.put(func(m *mail) {
		if m.views == nil {
			m.views = map[string]consul.View{}
		}
		m.views[v.Service] = v
	})
}

func (b *inbox) linked() { b.put(func(m *mail) { m.links = true }) }

func (b *inbox) reloaded(l loaded) { b.put(func(m *mail) { m.loaded = &l }) }

func (b *inbox) take() mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.mail
	b.mail = mail{}
	return taken
}
