package health

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// DefaultConcurrency bounds the probes that are under way at once, and so the
// descriptors that they hold.
const DefaultConcurrency = 1024

// Options are a Prober's; the zero value works.
type Options struct {
	// Changed hears of every new state or reason. Calls for one backend come one
	// after another, calls for different backends at the same time; one may still
	// come for a backend that Set has just dropped. It must not block.
	Changed     func(Backend, Verdict)
	Dialer      Dialer // nil is net.Dialer
	Concurrency int    // 0 is DefaultConcurrency
}

// Prober probes the backends that it was last given.
type Prober struct {
	changed func(Backend, Verdict)
	dialer  Dialer
	turns   chan struct{} // holds one value for each probe under way
	poke    chan struct{} // Set → Run

	mu      sync.Mutex
	wanted  map[Backend]Check
	running map[Backend]*watch
}

// watch is the probing of one backend by one check. The prober's mutex guards
// verdict and judge.
type watch struct {
	check   Check
	stop    context.CancelFunc
	done    chan struct{}
	verdict Verdict
	judge   judge
	seen    time.Time // when the first result of the judge's streak was asked for
}

// New returns a Prober without backends, which probes once Run is called.
func New(o Options) *Prober {
	if o.Changed == nil {
		o.Changed = func(Backend, Verdict) {}
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{KeepAlive: -1}
	}
	if o.Concurrency <= 0 {
		o.Concurrency = DefaultConcurrency
	}
	return &Prober{
		changed: o.Changed,
		dialer:  o.Dialer,
		turns:   make(chan struct{}, o.Concurrency),
		poke:    make(chan struct{}, 1),
		running: map[Backend]*watch{},
	}
}

// Set says which backends to probe, and how. A backend whose check is the same
// as before keeps its probe and history; one whose check differs keeps its
// verdict, until the new check's rise or fall contradicts it.
func (p *Prober) Set(checks map[Backend]Check) {
	wanted := make(map[Backend]Check, len(checks))
	for b, c := range checks {
		wanted[b] = c.withDefaults()
	}
	p.mu.Lock()
	p.wanted = wanted
	p.mu.Unlock()
	select {
	case p.poke <- struct{}{}:
	default: // Run has not yet seen the last one, and will see this with it
	}
}

// Verdict is what is known of a backend now; Unknown for one that is not probed.
func (p *Prober) Verdict(b Backend) Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.running[b]; w != nil {
		return w.verdict
	}
	return Verdict{Reason: "not probed yet"}
}

// Run probes until ctx is over, and returns when every probe has ended.
func (p *Prober) Run(ctx context.Context) error {
	var probes sync.WaitGroup
	defer probes.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		p.follow(ctx, &probes)
		select {
		case <-ctx.Done():
			return nil
		case <-p.poke:
		}
	}
}

// follow stops the watches that are no longer wanted and starts the new ones.
func (p *Prober) follow(ctx context.Context, probes *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	starting := map[Backend]*watch{}
	predecessors := map[Backend]*watch{}
	for b, w := range p.running {
		if check, keep := p.wanted[b]; keep && w.check.same(check) {
			continue
		}
		w.stop()
		predecessors[b] = w
		delete(p.running, b)
	}
	for b, check := range p.wanted {
		if p.running[b] != nil {
			continue
		}
		w := &watch{check: check, done: make(chan struct{}), verdict: Verdict{Reason: "not probed yet"}}
		if before := predecessors[b]; before != nil {
			w.verdict, w.judge.state = before.verdict, before.judge.state
		}
		starting[b] = w
	}
	spread := firstProbesWithin(len(starting))
	for b, w := range starting {
		var own context.Context
		own, w.stop = context.WithCancel(ctx)
		delay := time.Duration(rand.Int64N(int64(spread) + 1))
		before := predecessors[b]
		probes.Go(func() {
			defer close(w.done)
			if before != nil {
				<-before.done // so that calls of Changed for one backend stay in order
			}
			p.keepProbing(own, b, w, delay)
		})
	}
	maps.Copy(p.running, starting)
}

// firstProbesWithin is the time over which n first probes are spread: none for
// a hundred, 100 ms for a thousand, at most a second.
func firstProbesWithin(n int) time.Duration {
	return min(time.Duration(n/100)*10*time.Millisecond, time.Second)
}

func (p *Prober) keepProbing(ctx context.Context, b Backend, w *watch, delay time.Duration) {
	defer w.stop()
	for sleep(ctx, delay) {
		select {
		case p.turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		found := probe(ctx, p.dialer, b, w.check)
		<-p.turns
		if ctx.Err() != nil {
			return
		}
		p.report(b, w, found, began)
		delay = w.check.pause(rand.Float64()) - time.Since(began)
	}
}

// pause is the time between the starts of two probes, for a draw from [0,1).
func (c Check) pause(draw float64) time.Duration {
	return time.Duration(float64(c.Interval) * (1 + c.Jitter*(2*draw-1)))
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (p *Prober) report(b Backend, w *watch, found result, began time.Time) {
	p.mu.Lock()
	before := w.verdict
	w.note(found, began, time.Now())
	now := w.verdict
	current := p.running[b] == w
	p.mu.Unlock()
	if current && (now.State != before.State || now.Reason != before.Reason) {
		p.changed(b, now)
	}
}

// note takes one result into the verdict.
func (w *watch) note(found result, began, ended time.Time) {
	v := &w.verdict
	v.Took = ended.Sub(began)
	if found.finding == void {
		if v.State == Unknown {
			v.Reason = found.reason
		}
		return
	}
	well := found.finding == good
	contradicts := w.judge.streak == 0 && well != (w.judge.state == Well)
	if contradicts || w.judge.state == Unknown {
		w.seen = began
	}
	if w.judge.hear(well, w.check.Rise, w.check.Fall) {
		v.State, v.Since, v.Seen = w.judge.state, ended, w.seen
	}
	if well == (v.State == Well) {
		v.Reason = found.reason
	}
}
