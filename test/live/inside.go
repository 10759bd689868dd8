package main

import (
	"context"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// look says how long the programs on the balancers' interfaces run, by the kernel's
// statistics. They cost time themselves, so it comes after all turns are over.
func (all *results) look(ctx context.Context, stages []*stage, z size) error {
	counting, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return fmt.Errorf("having programs timed: %w", err)
	}
	defer counting.Close()
	for _, s := range stages {
		if !s.frames || len(s.needs) > 0 { // rivals have one that passes all
			continue
		}
		link, err := s.Host.Links().LinkByName("eth0")
		if err != nil {
			return err
		}
		at := link.Attrs().Xdp
		if at == nil || !at.Attached {
			return fmt.Errorf("%s has no program", s.name)
		}
		program, err := ebpf.NewProgramFromID(ebpf.ProgramID(at.ProgId))
		if err != nil {
			return fmt.Errorf("finding the program of %s: %w", s.name, err)
		}
		err = all.lookInto(ctx, s, program, z)
		program.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (all *results) lookInto(ctx context.Context, s *stage, program *ebpf.Program, z size) error {
	for _, k := range z.kinds()[1:] {
		before, err := program.Stats()
		if err != nil {
			return err
		}
		if _, err := s.pass(ctx, k, z.fresh, longestTurn); err != nil {
			return err
		}
		after, err := program.Stats()
		if err != nil {
			return err
		}
		if runs := after.RunCount - before.RunCount; runs > 0 {
			all.of(k.name, s.name).program = float64((after.Runtime - before.Runtime).Nanoseconds()) / float64(runs)
		}
	}
	return nil
}
