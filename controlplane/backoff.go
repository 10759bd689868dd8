package controlplane

import "time"

// The pauses before something that failed is tried again.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// backoff says when to try again. The zero value has nothing to try.
type backoff struct {
	failures int
	at       time.Time // zero: nothing failed
}

// failed notes one more failure and returns the pause.
func (b *backoff) failed() time.Duration {
	pause := lastRetry
	if b.failures < 7 {
		pause = min(firstRetry<<b.failures, lastRetry)
	}
	b.failures++
	b.at = time.Now().Add(pause)
	return pause
}

func (b *backoff) succeeded() { *b = backoff{} }

// pending tells that something failed and its time has not come yet.
func (b backoff) pending() bool { return time.Now().Before(b.at) }
