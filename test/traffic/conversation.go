package traffic

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Conversation is flows on which something is said all the time.
type Conversation struct {
	Flows    Flows
	Every    time.Duration // from an answer to the next question, positive; flows do not ask in step
	Patience time.Duration // for an answer: a flow without one has broken

	lock   sync.Mutex
	broken Flows
}

// Run asks until the context ends. Questions under way are still waited for. A
// flow that has broken or was closed is not asked again.
func (c *Conversation) Run(ctx context.Context) {
	var talks sync.WaitGroup
	for _, f := range c.Flows {
		talks.Go(func() { c.talk(ctx, f) })
	}
	talks.Wait()
}

func (c *Conversation) talk(ctx context.Context, f *Flow) {
	for pause(ctx, rand.N(c.Every)); ctx.Err() == nil && !f.over.Load(); pause(ctx, c.Every) {
		if f.use(c.Patience) {
			c.lock.Lock()
			c.broken = append(c.broken, f)
			c.lock.Unlock()
		}
	}
}

// Broken are the flows that have broken so far, the first first.
func (c *Conversation) Broken() Flows {
	c.lock.Lock()
	defer c.lock.Unlock()
	return slices.Clone(c.broken)
}

// Open is how many flows have neither broken nor been closed.
func (c *Conversation) Open() int {
	return len(c.Flows.where(func(f *Flow) bool { return !f.over.Load() }))
}

// Silent is how many of the open flows have not answered a question that was
// asked at a time or later.
func (c *Conversation) Silent(since time.Time) int {
	return len(c.Flows.where(func(f *Flow) bool {
		return !f.over.Load() && f.asked.Load() < since.UnixNano()
	}))
}
