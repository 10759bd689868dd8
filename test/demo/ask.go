package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// status is what the demo reads of pointsman status -o json.
type status struct {
	State      string
	Warnings   []string
	Interfaces []struct{ Name, Mode string }
	Services   struct{ OK int }
}

func (s status) interfaces() string {
	var all []string
	for _, i := range s.Interfaces {
		all = append(all, fmt.Sprintf("%s (%s)", i.Name, i.Mode))
	}
	return strings.Join(all, " and ")
}

// backendViews is what the demo reads of pointsman backends -o json.
type backendViews struct {
	Services []struct {
		Name     string
		Backends []struct{ Address, State, Reason string }
	}
}

// ask runs a command of the operator on the balancer and reads its answer.
func (s *stage) ask(ctx context.Context, answer any, command ...string) error {
	out, err := s.lab.Balancer.Run(ctx, s.binary, append(command, "-o", "json", "--socket", s.socket())...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("reading the answer to pointsman %s: %w", strings.Join(command, " "), err)
	}
	return nil
}

// awaitReady waits until every service has all its backends.
func (s *stage) awaitReady(ctx context.Context) (status, error) {
	var now status
	err := s.await(ctx, 15*time.Second, "every service is ok", func() error {
		now = status{}
		if err := s.ask(ctx, &now, "status"); err != nil {
			return err
		}
		if now.Services.OK != len(services) {
			return fmt.Errorf("%d of %d services are ok; warnings: %q", now.Services.OK, len(services), now.Warnings)
		}
		return nil
	})
	return now, err
}

// awaitVictim waits until the balancer says that the victim is in a state, in
// every service.
func (s *stage) awaitVictim(ctx context.Context, state string) error {
	return s.await(ctx, 10*time.Second, victim.name+" is "+state, func() error {
		var now backendViews
		if err := s.ask(ctx, &now, "backends"); err != nil {
			return err
		}
		found := 0
		for _, service := range now.Services {
			for _, b := range service.Backends {
				if s.isVictim(b.Address) && b.State == state {
					found++
				}
			}
		}
		if found != len(services) {
			return fmt.Errorf("in %d of %d services", found, len(services))
		}
		return nil
	})
}

// await asks until there is no problem any more.
func (s *stage) await(ctx context.Context, limit time.Duration, what string, problem func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		err := problem()
		if err == nil {
			return nil
		}
		select {
		case <-s.daemon.Done():
			return fmt.Errorf("the balancer ended while waiting until %s: %w", what, s.daemon.Wait())
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func (s *stage) showBackends(ctx context.Context) error {
	out, err := s.lab.Balancer.Run(ctx, s.binary, "backends", "--socket", s.socket())
	if err != nil {
		return err
	}
	say("%s", indent(string(out)))
	return nil
}
