package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/test/traffic"
)

// outage is what clients noticed of a backend's death, or of its return.
type outage struct {
	requests int           // sent in all while it was measured
	lost     int           // without an answer
	among    int           // sent until the last loss, after the event
	after    time.Duration // until the last loss, or until its first answer
	toll     toll          // of the connections that were open
}

// slowest is for a busy machine. With its own probes the balancer needs two that
// fail, 200 ms apart and each at most 200 ms long; Consul tells it at once.
const slowest = time.Second

// failure ends the victim's servers under load and measures from then.
func (s *stage) failure(ctx context.Context, kept *connections) (outage, error) {
	var died, dead time.Time // it may answer in between
	answers, err := s.underLoad(ctx, func() error {
		died = time.Now()
		s.victimHost().Kill()
		dead = time.Now()
		if err := s.fail(); err != nil {
			return err
		}
		return s.awaitVictim(ctx, "down")
	})
	if err != nil {
		return outage{}, err
	}
	o := outage{requests: len(answers)}
	var problems []error
	for _, a := range answers {
		over := a.Sent.Add(a.Took)
		switch {
		case a.Err != nil && over.Before(died):
			problems = append(problems, fmt.Errorf("a request was lost before: %w", a.Err))
		case a.Err != nil:
			o.lost++
			o.after = max(o.after, a.Sent.Sub(died)) // one under way may be of before
		case a.Backend == victim.name && a.Sent.After(dead):
			problems = append(problems, fmt.Errorf("%s answered although it is dead", victim.name))
		}
	}
	well := 0
	for _, a := range answers.Since(died) {
		if a.Sent.Sub(died) <= o.after {
			o.among++
		} else {
			well++
		}
	}
	if o.after > slowest {
		problems = append(problems, fmt.Errorf("requests were lost for %v, %v was to be expected at most", o.after, slowest))
	}
	say("Gone after %s: %d of the %d requests sent until then were lost,", milliseconds(o.after), o.lost, o.among)
	say("none of the %d after that.", well)
	o.toll, err = kept.toll(ctx)
	say("%d connections were open: the %d to %s broke, and %d of the others.", connectionCount, o.toll.victims, victim.name, o.toll.others)
	say("The clients that lost theirs connect again.")
	return o, errors.Join(append(problems, err, kept.connect(ctx))...)
}

// recovery starts the victim's servers again under load, and waits until it has
// its share of all services.
func (s *stage) recovery(ctx context.Context, kept *connections) (outage, error) {
	var revived time.Time
	answers, err := s.underLoad(ctx, func() error {
		revived = time.Now()
		if err := s.victimHost().Revive(); err != nil {
			return err
		}
		if err := s.pass(); err != nil {
			return err
		}
		return s.awaitVictim(ctx, "up")
	})
	if err != nil {
		return outage{}, err
	}
	o := outage{requests: len(answers), lost: len(answers.Failed())}
	var problems []error
	if o.lost > 0 {
		problems = append(problems, fmt.Errorf("%d requests were lost as a backend came back, the first: %w", o.lost, answers.Failed()[0].Err))
	}
	first := slices.IndexFunc(answers, func(a traffic.Answer) bool { return a.Backend == victim.name })
	if first < 0 {
		return o, errors.Join(append(problems, fmt.Errorf("%s did not answer again", victim.name))...)
	}
	o.after = answers[first].Sent.Sub(revived)
	say("Its first answer was to a request sent after %s. Of %d requests meanwhile", milliseconds(o.after), len(answers))
	say("%d were lost.", o.lost)
	problems = append(problems, s.learn(ctx, revived))
	o.toll, err = kept.toll(ctx)
	say("%d connections were open, some where %s takes over now: %d broke.", connectionCount, victim.name, o.toll.others)
	return o, errors.Join(append(problems, err)...)
}

// learn waits until new flows over UDP, too, go to a backend that came back.
func (s *stage) learn(ctx context.Context, since time.Time) error {
	err := s.AwaitLearned(ctx, 15*time.Second)
	say("No UDP packet says that it begins a flow. So the balancer first learned who talks")
	say("to whom; since %s after its return, %s gets new flows over UDP, too.", seconds(time.Since(since)), victim.name)
	return err
}

// underLoad sends requests to every VIP while something happens, half a second
// longer at both ends, and returns them in the order in which they were sent.
func (s *stage) underLoad(ctx context.Context, event func() error) (traffic.Answers, error) {
	loading, stop := context.WithCancel(ctx)
	defer stop()
	var lock sync.Mutex
	var answers traffic.Answers
	var loads sync.WaitGroup
	for _, service := range services {
		for i := range service.vips {
			load := traffic.Load{From: s.Lab.Client, Kind: service.kind, To: service.listen(i), Workers: 2, Pause: 5 * time.Millisecond}
			loads.Go(func() {
				got := load.Run(loading)
				lock.Lock()
				defer lock.Unlock()
				answers = append(answers, got...)
			})
		}
	}
	err := wait(ctx, 500*time.Millisecond)
	if err == nil {
		err = event()
	}
	if err == nil {
		err = wait(ctx, 500*time.Millisecond)
	}
	stop()
	loads.Wait()
	answers.Sort()
	return answers, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
