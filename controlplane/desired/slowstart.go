package desired

import (
	"fmt"
	"time"
)

// A slow start has at most this many steps, and at most one a second: each
// opens slots, and only those that it moves.
const mostSteps = 32

// startSlowly lets backends that join or recover begin with a part of their
// weight. Those of a service's first view do not join, they were there; and in
// panic nobody has the time.
func startSlowly(in Input, s Service, backends []backend, before ServiceReport, panic bool) {
	for i := range backends {
		b := &backends[i]
		switch {
		case b.State != BackendUp, panic, s.SlowStart == 0:
			continue
		case b.served:
			was, _ := before.Find(b.BackendReport)
			b.Joined = was.Joined
		case before.Ready:
			b.Joined = in.Now
		}
		if b.Joined.IsZero() {
			continue
		}
		step, steps := b.step(in.Now, s.SlowStart)
		if step >= steps {
			b.Joined = time.Time{}
			continue
		}
		b.Reason = fmt.Sprintf("slow start: %d%% of its weight", 100*(step+1)/(steps+1))
	}
}

// step is how many steps of its slow start a backend has taken. With the last
// it has its whole weight.
func (b *backend) step(now time.Time, slowStart time.Duration) (step, steps int64) {
	steps = min(max(int64(slowStart/time.Second), 1), mostSteps)
	elapsed := max(now.Sub(b.Joined), 0)
	if elapsed >= slowStart {
		return steps, steps
	}
	return int64(elapsed) * steps / int64(slowStart), steps
}

// nextStep is when the backend will have taken another step.
func (b *backend) nextStep(now time.Time, slowStart time.Duration) time.Time {
	step, steps := b.step(now, slowStart)
	return b.Joined.Add(time.Duration((int64(slowStart)*(step+1) + steps - 1) / steps)) // rounded up
}

// part is what a backend has of a weight as long as it starts slowly.
func (b *backend) part(weight uint16, now time.Time, slowStart time.Duration) uint16 {
	if b.Joined.IsZero() {
		return weight
	}
	step, steps := b.step(now, slowStart)
	return uint16(max(int64(weight)*(step+1)/(steps+1), 1))
}
