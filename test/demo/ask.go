package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

func interfaces(s api.Status) string {
	var all []string
	for _, i := range s.Interfaces {
		all = append(all, fmt.Sprintf("%s (%s)", i.Name, i.Mode))
	}
	return strings.Join(all, " and ")
}

// awaitVictim waits until the balancer says that the victim is in a state, in
// every service.
func (s *stage) awaitVictim(ctx context.Context, state string) error {
	return s.Await(ctx, 10*time.Second, victim.name+" is "+state, func() error {
		now, err := s.Backends(ctx)
		if err != nil {
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

func (s *stage) showBackends(ctx context.Context) error {
	out, err := s.Run(ctx, "backends", "--socket", s.Socket())
	if err != nil {
		return err
	}
	say("%s", indent(string(out)))
	return nil
}
