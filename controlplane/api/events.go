package api

import (
	"context"
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
	Why       string    `json:"why,omitempty"` // a view is held: "unreachable", "403", "no leader" and so on
	By        string    `json:"by,omitempty"`  // the operator
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
	err := c.ask(ctx, q.Wait, http.MethodGet, "/v1/events?"+query.Encode(), nil, &events)
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
		defer over.Stop()
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
