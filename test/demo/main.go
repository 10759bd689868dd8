// The demo builds a network on this machine, balances real requests over real
// backends, takes one away, brings it back and leaves nothing behind. It exits
// with 1 if anything was not as it should be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "bin/pointsman", "show the `program` at this path")
	flag.BoolVar(&o.consul, "consul", false, "take the backends from a real Consul")
	flag.BoolVar(&o.stay, "stay", false, "leave the network and the balancer up and say what to type next")
	flag.BoolVar(&o.hold, "hold", false, "be what --stay leaves in the background")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := o.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\nThis is not as it should be:\n%s\n", indent(err.Error()))
		os.Exit(1)
	}
}

type options struct {
	binary             string
	consul, stay, hold bool
}

func (o options) run(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and BPF programs need root")
	}
	var err error
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	if _, err := os.Stat(o.binary); err != nil {
		return fmt.Errorf("the program to show is missing, build it first: %w", err)
	}
	switch {
	case o.stay:
		return leaveUp(ctx, o)
	case o.hold:
		return hold(ctx, o)
	}
	began := time.Now()
	if err := show(ctx, o); err != nil {
		return err
	}
	say("\nAll as it should be, in %s.", seconds(time.Since(began)))
	return nil
}

// show is the demo: it opens the stage, plays and clears up.
func show(ctx context.Context, o options) (err error) {
	say("Pointsman at work: a client, a router, a balancer and four backends, each a")
	say("network namespace of this machine. Every request below is real packets.")
	s, err := open(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		act("Clearing up")
		if err = errors.Join(err, s.close()); err == nil {
			say("Nothing is left: no namespace, no pinned map or program, no process, no file.")
		}
	}()
	return play(ctx, s)
}

func play(ctx context.Context, s *stage) error {
	act("All backends are well: requests spread by weight")
	before, err := s.spread(ctx, backends)
	if err != nil {
		return err
	}
	kept := &connections{stage: s}
	defer kept.close()
	if err := kept.connect(ctx); err != nil {
		return err
	}
	act("%s dies under load", victim.name)
	failure, err := s.failure(ctx, kept)
	if err != nil {
		return err
	}
	act("While it is away, the others share its requests")
	away, err := s.spread(ctx, survivors())
	if err != nil {
		return err
	}
	act("%s comes back under load", victim.name)
	recovery, err := s.recovery(ctx, kept)
	if err != nil {
		return err
	}
	after, err := s.spread(ctx, backends)
	if err != nil {
		return err
	}
	act("What the operator sees: pointsman backends")
	if err := s.showBackends(ctx); err != nil {
		return err
	}
	act("Summary")
	summarise(before, failure, away, recovery, after)
	return nil
}
