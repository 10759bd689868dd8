package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// GenerationHeader names how often what was asked for has changed, for a long poll.
const GenerationHeader = "Pointsman-Generation"

// longestWait is that of a long poll, and writeTimeout what the answer may take to
// be written.
const (
	longestWait  = 10 * time.Minute
	writeTimeout = 30 * time.Second
)

// Generations counts changes of what the tables of the API say.
type Generations interface {
	// Generation is how often they have changed, and a channel that is closed at the
	// next change. It grows over restarts, too.
	Generation() (n uint64, next <-chan struct{})
}

// poll is a request that waits: ?wait=30s&generation=N.
type poll struct {
	generation uint64
	given      bool // and to be waited for
	wait       time.Duration
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
func (p poll) begin(w http.ResponseWriter) *time.Timer {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(p.wait + writeTimeout))
	return time.NewTimer(p.wait)
}

// await returns whether something changed before the wait was over.
func await(ctx context.Context, changed <-chan struct{}, over *time.Timer) bool {
	select {
	case <-changed:
		return true
	case <-over.C:
	case <-ctx.Done():
	}
	return false
}

// polled answers once the tables are of another generation than the one that is
// given, or the wait is over.
func polled(source Generations, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		poll, err := readPoll(r)
		if err != nil {
			refuse(w, http.StatusBadRequest, err.Error())
			return
		}
		n, next := source.Generation()
		if poll.given && n == poll.generation {
			over := poll.begin(w)
			defer over.Stop()
			await(r.Context(), next, over)
			n, _ = source.Generation()
		}
		// It is that from before the answer is made: who asks for the next of it may
		// hear of a change twice, and misses none.
		w.Header().Set(GenerationHeader, strconv.FormatUint(n, 10))
		handle(w, r)
	}
}
