package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pointsman/pointsman/test/consul"
	"github.com/pointsman/pointsman/test/lab"
)

// stage is a lab with a balancer that runs and backends that decapsulate.
type stage struct {
	lab    *lab.Lab
	binary string
	daemon *lab.Process
	agent  *consul.Agent // nil unless the backends come from Consul
	decaps []*lab.Host   // where pointsman decap is on
}

func (s *stage) path(name string) string { return filepath.Join(s.lab.Dir, name) }

// open builds everything and returns once all services are well. After an error
// it has cleared up.
func open(ctx context.Context, o options) (*stage, error) {
	s := &stage{binary: o.binary}
	if err := s.build(ctx, o); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) build(ctx context.Context, o options) (err error) {
	act("Building the network")
	began := time.Now()
	if s.lab, err = lab.New(network); err != nil {
		return err
	}
	picture(s.lab)
	say("Up in %s.", milliseconds(time.Since(began)))
	if o.consul {
		if err := s.startConsul(ctx); err != nil {
			return err
		}
	}
	act("Preparing the backends: pointsman decap")
	for _, b := range s.lab.Backends {
		if err := s.decap(ctx, b); err != nil {
			return err
		}
	}
	say("Each takes packets out of their tunnels for the VIPs, from the balancer only.")
	act("Starting the balancer: pointsman run")
	return s.startDaemon(ctx)
}

func (s *stage) decap(ctx context.Context, b *lab.Host) error {
	args := []string{"decap", "--interface", "eth0", "--pin-dir", s.decapPins(b), "--state-file", s.decapState(b)}
	for _, service := range services {
		for _, vip := range service.vips {
			args = append(args, "--vip", vip.String())
		}
	}
	for _, addr := range s.lab.Balancer.Addrs() {
		args = append(args, "--from", netip.PrefixFrom(addr, addr.BitLen()).String())
	}
	s.decaps = append(s.decaps, b)
	_, err := b.Run(ctx, s.binary, args...)
	return err
}

// The backends share the file systems of this machine, so each has a place of
// its own where a real one would take the defaults.
func (s *stage) decapPins(b *lab.Host) string  { return filepath.Join(s.lab.PinDir, b.Name) }
func (s *stage) decapState(b *lab.Host) string { return s.path(b.Name + ".json") }

func (s *stage) startDaemon(ctx context.Context) error {
	began := time.Now()
	if err := os.WriteFile(s.path("pointsman.hcl"), []byte(s.configuration()), 0o600); err != nil {
		return err
	}
	say("%s", indent(s.configuration()))
	log, err := os.Create(s.path("balancer.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.binary, "run", "--config", s.path("pointsman.hcl"), "--pin-dir", s.balancerPins(), "--socket", s.socket())
	cmd.Stdout, cmd.Stderr = log, log
	if s.daemon, err = s.lab.Balancer.Start(cmd); err != nil {
		return err
	}
	status, err := s.awaitReady(ctx)
	if err != nil {
		text, _ := os.ReadFile(s.path("balancer.log")) // without it there is still the error
		return fmt.Errorf("%w; the balancer's log:\n%s", err, text)
	}
	say("Forwarding after %s, by XDP on %s.", milliseconds(time.Since(began)), status.interfaces())
	return nil
}

func (s *stage) balancerPins() string { return filepath.Join(s.lab.PinDir, "balancer") }
func (s *stage) socket() string       { return s.path("pointsman.sock") }

// close takes everything off again by the commands that an operator would use,
// then takes the lab down and looks whether anything is left.
func (s *stage) close() error {
	if s.lab == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var errs []error
	if s.daemon != nil {
		errs = append(errs, s.daemon.Stop())
		_, err := s.lab.Balancer.Run(ctx, s.binary, "detach", "--pin-dir", s.balancerPins())
		errs = append(errs, err)
	}
	for _, b := range s.decaps {
		_, err := b.Run(ctx, s.binary, "decap", "--off", "--interface", "eth0", "--pin-dir", s.decapPins(b), "--state-file", s.decapState(b))
		errs = append(errs, err)
	}
	errs = append(errs, s.pinsLeft(), s.stopConsul(), s.lab.Close())
	if remains := lab.Remains(s.lab.Prefix); len(remains) > 0 {
		errs = append(errs, fmt.Errorf("left behind: %v", remains))
	}
	return errors.Join(errs...)
}

// pinsLeft looks for pins before the lab would remove them.
func (s *stage) pinsLeft() error {
	var pins []error
	err := filepath.WalkDir(s.lab.PinDir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			pins = append(pins, fmt.Errorf("left pinned: %s", path))
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(append(pins, err)...)
}
