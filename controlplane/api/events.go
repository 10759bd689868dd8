package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Events is GET /v1/events?service=NAME&generation=N&wait=30s: what has changed, as
// far back as the daemon remembers, or since a generation.
type Events struct {
	SchemaVersion int `json:"schema_version"`
	// Generation is to be asked for next; it grows over restarts of the daemon, too.
	Generation uint64 `json:"generation"`
	// Missed says that events since the generation asked for are forgotten already.
	Missed bool    `json:"missed"`
	Events []Event `json:"events"` // oldest first
}

// Event is a change of state. What does not apply is left out.
type Event struct {
	ID        uint64    `json:"id"`
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"`  // "backend", "service", "consul", "configuration", "override", "interface", "tables" or "repair"
	Level     string    `json:"level"` // "info", "warn" or "error"
	Text      string    `json:"text"`  // "backend is down"
	Service   string    `json:"service,omitempty"`
	Backend   string    `json:"backend,omitempty"`
	Interface string    `json:"interface,omitempty"`
	Was       string    `json:"was,omitempty"`   // the state before
	State     string    `json:"state,omitempty"` // and since
	Weight    *uint16   `json:"weight,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	By        string    `json:"by,omitempty"` // the operator
	// Changes are those that this event stands for, of something that flaps.
	Changes int `json:"changes,omitempty"`
	// ConsulAt is when Consul's answer said so, AppliedAt when the last map was
	// written that had to be.
	ConsulAt  *time.Time `json:"consul_at,omitempty"`
	AppliedAt *time.Time `json:"applied_at,omitempty"`
	DetectMS  *float64   `json:"detect_ms,omitempty"` // from the first sign to knowing of it
	ApplyMS   *float64   `json:"apply_ms,omitempty"`  // from knowing of it to the last map
}

// EventsQuery says which events are of interest, and how long to wait for one.
type EventsQuery struct {
	Service    string // "" is all
	Generation uint64 // 0 is all that are remembered
	Wait       time.Duration
}

// Events asks what has changed.
func (c *Client) Events(ctx context.Context, q EventsQuery) (Events, error) {
	query := url.Values{}
	if q.Service != "" {
		query.Set("service", q.Service)
	}
	if q.Generation > 0 {
		query.Set("generation", strconv.FormatUint(q.Generation, 10))
	}
	if q.Wait > 0 {
		query.Set("wait", q.Wait.String())
	}
	var events Events
	err := c.get(ctx, "/v1/events?"+query.Encode(), &events)
	return events, err
}

// Chronicler knows what has happened.
type Chronicler interface {
	// Events are those since a generation, of one service unless that is "", and a
	// channel that is closed when there are more.
	Events(service string, since uint64) (list Events, more <-chan struct{})
}

func events(source Chronicler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		poll, err := readPoll(r)
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		service := r.URL.Query().Get("service")
		over := poll.begin(w)
		defer poll.end()
		for {
			list, more := source.Events(service, poll.generation)
			if len(list.Events) > 0 || list.Missed || !poll.given || !await(r.Context(), more, over) {
				list.SchemaVersion = SchemaVersion
				w.Header().Set(GenerationHeader, strconv.FormatUint(list.Generation, 10))
				answer(w, http.StatusOK, "application/json", list)
				return
			}
		}
	}
}

// GenerationHeader names how often a table has changed, for a long poll.
const GenerationHeader = "Pointsman-Generation"

// longestWait is that of a long poll, and shortestTime what the answer may take
// to be written.
const (
	longestWait  = 10 * time.Minute
	writeTimeout = 30 * time.Second
)

// poll is a request that waits: ?wait=30s&generation=N.
type poll struct {
	generation uint64
	given      bool // and to be waited for
	wait       time.Duration
	timer      *time.Timer
}

func readPoll(r *http.Request) (poll, error) {
	query := r.URL.Query()
	p := poll{}
	var err error
	if text := query.Get("generation"); text != "" {
		if p.generation, err = strconv.ParseUint(text, 10, 64); err != nil {
			return p, fmt.Errorf("generation %q is not a number", text)
		}
	}
	if text := query.Get("wait"); text != "" {
		if p.wait, err = time.ParseDuration(text); err != nil || p.wait < 0 || p.wait > longestWait {
			return p, fmt.Errorf("wait %q is not a duration from 0s to %s", text, longestWait)
		}
		p.given = p.wait > 0 && query.Get("generation") != ""
	}
	return p, nil
}

// begin starts the wait, and lets the answer take its time after it.
func (p *poll) begin(w http.ResponseWriter) (over <-chan time.Time) {
	// Where deadlines cannot be set there is no connection that could be slow.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(p.wait + writeTimeout))
	p.timer = time.NewTimer(p.wait)
	return p.timer.C
}

func (p *poll) end() { p.timer.Stop() }

// await returns whether something changed before the wait was over.
func await(ctx context.Context, changed <-chan struct{}, over <-chan time.Time) bool {
	select {
	case <-changed:
		return true
	case <-over:
	case <-ctx.Done():
	}
	return false
}
