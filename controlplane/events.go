package controlplane

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

// The kinds of events.
const (
	kindBackend       = "backend"
	kindService       = "service"
	kindConsul        = "consul"
	kindConfiguration = "configuration"
	kindOverride      = "override"
	kindInterface     = "interface"
	kindTables        = "tables"
	kindRepair        = "repair"
)

// mostEvents are remembered. A thousand backends that all go and come are 2,000.
const mostEvents = 4096

// chronicle tells of each change of state once: as a line of the log, and to who asks
// what happened. What flaps is told of once in a while.
type chronicle struct {
	log *slog.Logger

	mu        sync.Mutex
	last      uint64 // the id of the last event
	forgotten uint64 // the id of the last one that is not remembered
	ring      []api.Event
	more      chan struct{} // closed at the next event
	flapping  flapping
	flushed   time.Time
}

// newChronicle counts events from the time on, in milliseconds, so that no daemon
// uses a number that one before it has used.
func newChronicle(log *slog.Logger) *chronicle {
	began := uint64(time.Now().UnixMilli())
	return &chronicle{log: log, last: began, forgotten: began, more: make(chan struct{}), flapping: flapping{}}
}

// tell tells of an event; more is for the log alone.
func (c *chronicle) tell(level slog.Level, e api.Event, more ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.At, e.Level = time.Now(), strings.ToLower(level.String())
	switch c.flapping.judge(e) {
	case told:
		c.add(level, e, more)
	case tooOften:
		e.Text, e.Changes = e.Kind+" is flapping, which is told once a minute", 1
		c.add(slog.LevelWarn, e, more)
	case untold:
	}
}

// flushEvery keeps a loop that has much to do from looking at all that has changed
// lately each time.
const flushEvery = time.Second

// flush tells of what has flapped since it was told last.
func (c *chronicle) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.flushed) < flushEvery {
		return
	}
	c.flushed = now
	for _, e := range c.flapping.due(now) {
		e.At = now
		level := slog.LevelWarn
		if e.Changes == 0 {
			level = slog.LevelInfo
		}
		e.Level = strings.ToLower(level.String())
		c.add(level, e, nil)
	}
}

// wake is when there is something to flush; zero is never.
func (c *chronicle) wake() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.flapping.wake()
	if soonest := c.flushed.Add(flushEvery); !at.IsZero() && at.Before(soonest) {
		return soonest
	}
	return at
}

func (c *chronicle) lastID() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *chronicle) add(level slog.Level, e api.Event, more []any) {
	c.last++
	e.ID = c.last
	c.log.Log(context.Background(), level, e.Text, append(eventLine(e), more...)...)
	if len(c.ring) == mostEvents {
		c.forgotten = c.ring[0].ID
		c.ring = c.ring[1:]
	}
	c.ring = append(c.ring, e)
	close(c.more)
	c.more = make(chan struct{})
}

// eventLine are the event's words in the log.
func eventLine(e api.Event) (line []any) {
	for _, word := range []struct{ key, value string }{
		{"service", e.Service}, {"backend", e.Backend}, {"interface", e.Interface}, {"was", e.Was},
	} {
		if word.value != "" {
			line = append(line, word.key, word.value)
		}
	}
	if e.Weight != nil {
		line = append(line, "weight", *e.Weight)
	}
	if e.Interface != "" {
		line = append(line, "mode", e.State)
	}
	if strings.Contains(e.Text, "flap") {
		line = append(line, "state", e.State, "changes", e.Changes)
	}
	if e.By != "" {
		line = append(line, "by", e.By)
	}
	if e.Kind == kindRepair {
		line = append(line, "found", e.Reason)
	} else {
		line = append(line, reasonOf(e.Reason))
	}
	if e.Why != "" {
		line = append(line, "why", e.Why)
	}
	if e.DetectMS != nil {
		line = append(line, "detect_ms", *e.DetectMS)
	}
	if e.ApplyMS != nil {
		line = append(line, "apply_ms", *e.ApplyMS)
	}
	return line
}

// since are the events after one, and a channel that is closed at the next.
func (c *chronicle) since(service string, id uint64) (api.Events, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := api.Events{Generation: c.last, Missed: id > 0 && id < c.forgotten, Events: []api.Event{}}
	for _, e := range c.ring {
		if e.ID > id && (service == "" || e.Service == service) {
			list.Events = append(list.Events, e)
		}
	}
	return list, c.more
}

// Events are those since a generation, for the API.
func (d *daemon) Events(service string, since uint64) (api.Events, <-chan struct{}) {
	return d.events.since(service, since)
}
