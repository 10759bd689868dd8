package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
)

// stage is a lab with a balancer that runs and backends that decapsulate.
type stage struct{ *balancer.Balancer }

// open builds everything and returns once all services are well. After an error
// it has cleared up.
func open(ctx context.Context, o options) (*stage, error) {
	s := &stage{}
	if err := s.build(ctx, o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) build(ctx context.Context, o options) error {
	act("Building the network")
	began := time.Now()
	l, err := lab.New(network)
	if err != nil {
		return err
	}
	s.Balancer = balancer.New(l, o.binary)
	picture(l)
	say("Up in %s.", milliseconds(time.Since(began)))
	if o.consul {
		if err := s.startConsul(ctx); err != nil {
			return err
		}
	}
	act("Preparing the backends: pointsman decap")
	for _, b := range l.Backends {
		if err := s.Decap(ctx, b, vips()...); err != nil {
			return err
		}
	}
	say("Each takes packets out of their tunnels for the VIPs, from the balancer only.")
	act("Starting the balancer: pointsman run")
	return s.startDaemon(ctx)
}

func (s *stage) startDaemon(ctx context.Context) error {
	began := time.Now()
	if err := s.Configure(s.configuration()); err != nil {
		return err
	}
	say("%s", indent(s.configuration()))
	if err := s.Start(); err != nil {
		return err
	}
	status, err := s.AwaitReady(ctx)
	if err != nil {
		return err
	}
	say("Forwarding after %s, by XDP on %s.", milliseconds(time.Since(began)), interfaces(status))
	return nil
}

// close takes everything off again, then takes the lab down and looks whether
// anything is left.
func (s *stage) close() error {
	if s.Balancer == nil {
		return nil
	}
	errs := []error{s.Close(), s.Lab.Close()}
	if remains := lab.Remains(s.Lab.Prefix); len(remains) > 0 {
		errs = append(errs, fmt.Errorf("left behind: %v", remains))
	}
	return errors.Join(errs...)
}
