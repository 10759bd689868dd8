package consul

import (
	"context"
	"math/rand/v2"
	"time"
)

// pace is the timing of a watch; tests against a real agent shorten it.
type pace struct {
	waitMin, waitMax time.Duration // W8: how long a watch waits for a change
	slack            time.Duration // W8: beyond the wait, before a question is given up
	audit            time.Duration // W7: between plain reads, ±20 %
	gap              time.Duration // W9: between the starts of two questions
	firstRetry       time.Duration // W4: doubled for each failure in a row, ±50 %
	lastRetry        time.Duration
	lookup           time.Duration // for all the names of an answer
}

var usualPace = pace{
	waitMin:    55 * time.Second,
	waitMax:    65 * time.Second,
	slack:      15 * time.Second,
	audit:      60 * time.Second,
	gap:        100 * time.Millisecond,
	firstRetry: 100 * time.Millisecond,
	lastRetry:  10 * time.Second,
	lookup:     2 * time.Second,
}

// wait is random so that watches which started together drift apart.
func (p pace) wait() time.Duration {
	return p.waitMin + time.Duration(rand.Float64()*float64(p.waitMax-p.waitMin))
}

// deadline is when a question is given up. Consul lengthens a wait by up to a
// sixteenth, and the client has no limit of its own, so without this a
// connection that died silently would blind the watch for ever.
func (p pace) deadline(wait time.Duration) time.Duration {
	return wait + wait/16 + p.slack
}

func (p pace) untilAudit() time.Duration {
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(p.audit))
}

// backoff is the pause after the n-th failure in a row, n from 1.
func (p pace) backoff(n int) time.Duration {
	d := p.lastRetry
	if n < 16 {
		d = min(d, p.firstRetry<<(n-1))
	}
	return time.Duration((0.5 + rand.Float64()) * float64(d))
}

// pause returns early when ctx is over.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
