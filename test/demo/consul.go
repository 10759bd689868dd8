package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

// startConsul runs an agent on the balancer, as an operator would, and
// registers every backend of every service with it.
func (s *stage) startConsul(ctx context.Context) error {
	act("Starting Consul")
	began := time.Now()
	err := s.StartConsul(ctx, func(format string, args ...any) { say(format, args...) })
	if err != nil {
		return err
	}
	for _, service := range services {
		for i, b := range backends {
			if err := s.register(service, b, service.address(s.Lab.Backends[i]).String()); err != nil {
				return err
			}
		}
	}
	say("An agent with %d services of %d instances each, in %s.", len(services), len(backends), milliseconds(time.Since(began)))
	return nil
}

func (s *stage) register(service service, b backend, address string) error {
	err := s.Consul.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: instance(service, b), Name: service.name, Address: address, Port: int(service.port),
		Weights: &api.AgentWeights{Passing: b.weight, Warning: 1},
		Check:   &api.AgentServiceCheck{CheckID: instance(service, b), TTL: "10m", Status: api.HealthPassing},
	})
	if err != nil {
		return fmt.Errorf("registering %s with Consul: %w", instance(service, b), err)
	}
	return nil
}

func instance(service service, b backend) string { return service.name + "-" + b.name }

// fail tells Consul that the victim's checks are critical; pass that they pass.
// Without Consul both do nothing: the balancer finds out by itself.
func (s *stage) fail() error { return s.setChecks(api.HealthCritical) }
func (s *stage) pass() error { return s.setChecks(api.HealthPassing) }

func (s *stage) setChecks(state string) error {
	if s.Consul == nil {
		return nil
	}
	for _, service := range services {
		if err := s.Consul.Client().Agent().UpdateTTL(instance(service, victim), "said by the demo", state); err != nil {
			return fmt.Errorf("setting the check of %s to %s: %w", instance(service, victim), state, err)
		}
	}
	return nil
}
