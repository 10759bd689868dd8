package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/lab"
)

var vip = netip.AddrPortFrom(lab.VIP4(10), 80)

const (
	packetRate = 20_000                 // a second, to two backends: one arrives every tenth of a millisecond
	silence    = 200 * time.Millisecond // without a packet: there will be none
	patience   = 10 * time.Second
)

// sample is what one check that turned critical led to, and after what time.
type sample struct{ told, silent time.Duration }

func (s *stage) sample(ctx context.Context, a *arrivals) (sample, error) {
	victim, agent := s.Lab.Backends[0].Name, s.Consul.Client().Agent()
	if err := a.await(ctx, time.Now()); err != nil {
		return sample{}, err
	}
	_, at, err := s.Consul.Client().Health().Service("web", "", false, nil)
	if err != nil {
		return sample{}, err
	}
	heard := make(chan time.Time, 1)
	failed := make(chan error, 1)
	go func() {
		if err := s.awaitCritical(ctx, victim, at.LastIndex); err != nil {
			failed <- err
			return
		}
		heard <- time.Now()
	}()
	began := time.Now()
	if err := agent.UpdateTTL(victim, "said by converge", api.HealthCritical); err != nil {
		return sample{}, err
	}
	var told time.Time
	select {
	case told = <-heard:
	case err := <-failed:
		return sample{}, err
	}
	last, err := a.end(ctx)
	if err != nil {
		return sample{}, err
	}
	if err := agent.UpdateTTL(victim, "said by converge", api.HealthPassing); err != nil {
		return sample{}, err
	}
	return sample{told.Sub(began), max(last.Sub(began), 0)}, nil
}

// awaitCritical asks as the balancer does, and returns when Consul has answered.
func (s *stage) awaitCritical(ctx context.Context, id string, index uint64) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		options := (&api.QueryOptions{WaitIndex: index, WaitTime: patience}).WithContext(ctx)
		entries, at, err := s.Consul.Client().Health().Service("web", "", false, options)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if entry.Service.ID == id && entry.Checks.AggregatedStatus() == api.HealthCritical {
				return nil
			}
		}
		index = at.LastIndex
	}
	return errors.New("Consul does not say that the check is critical") //lint:ignore ST1005 Consul is a name
}

// await waits for a packet that arrives after a time.
func (a *arrivals) await(ctx context.Context, after time.Time) error {
	return a.poll(ctx, "packets to arrive", func() bool { return a.last().After(after) })
}

// end is when the last packet arrived, once there will be no more.
func (a *arrivals) end(ctx context.Context) (time.Time, error) {
	err := a.poll(ctx, "packets to stay away", func() bool { return time.Since(a.last()) > silence })
	return a.last(), err
}

func (a *arrivals) poll(ctx context.Context, what string, done func() bool) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-a.failed:
			return err
		case now := <-tick.C:
			if now.After(deadline) {
				return fmt.Errorf("waited %s for %s", patience, what)
			}
		}
	}
	return nil
}
