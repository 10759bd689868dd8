// Live sends packets through balancers in labs, side by side: Pointsman in its modes,
// nftables without and with connection tracking, IPVS where the kernel has it, and
// HAProxy for connections. It counts what arrives, and says what CPU time that takes.
//
// Everything is on one CPU: whoever sends, the balancer, who receives. Frames come from
// a program of XDP, a few at a time, the next ones when these have arrived, so the CPU
// always has something to do, and the time that passes is the time that a frame takes
// it. In each round a wire takes a turn, too, which balances nothing: what a balancer
// takes more than that is its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// longest is when it ends at the latest.
const longest = 4 * time.Minute

func main() {
	binary := flag.String("binary", "bin/pointsman", "the program")
	only := flag.String("only", "", "contenders, as a `REGEXP`")
	file := flag.String("json", "", "write results to this `FILE`, too")
	quick := flag.Bool("quick", false, "a single short round")
	slow := flag.Bool("emulated", false, "fewer frames and rounds, for a machine that is emulated")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if err := useOneCPU(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	z := full
	switch {
	case *quick:
		z = smoke
	case *slow:
		z = emulated
	}
	path, err := filepath.Abs(*binary)
	if err == nil {
		err = run(ctx, path, *only, *file, z)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// useOneCPU begins this program anew on the last of its CPUs, where its threads and
// processes are then, too.
func useOneCPU() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return err
	}
	if allowed.Count() == 1 {
		return nil
	}
	last := 0
	for cpu := range 64 * len(allowed) {
		if allowed.IsSet(cpu) {
			last = cpu
		}
	}
	one.Set(last)
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("keeping to CPU %d: %w", last, err)
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

func run(ctx context.Context, binary, only, file string, z size) (err error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	stages, err := openAll(ctx, binary, pattern)
	defer func() {
		for _, s := range stages {
			err = errors.Join(err, s.close())
		}
	}()
	if err != nil {
		return err
	}
	all, err := takeTurns(ctx, stages, z)
	all.print(os.Stdout)
	if err != nil || file == "" {
		return err
	}
	text, err := all.json()
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// openAll opens the contenders whose programs there are, and says which others there
// could be. One that this kernel has no module for is left out likewise.
func openAll(ctx context.Context, binary string, pattern *regexp.Regexp) (stages []*stage, err error) {
	for _, c := range contenders {
		if !pattern.MatchString(c.name) && !strings.HasPrefix(c.name, "wire") || c.noisy && pattern.String() == "" {
			continue
		}
		if missing := c.missing(); missing != "" {
			fmt.Fprintf(os.Stderr, "without %s: %s\n", c.name, missing)
			continue
		}
		s, err := c.open(ctx, binary)
		switch {
		case err == nil:
			stages = append(stages, s)
		case len(c.needs) > 0 && ctx.Err() == nil:
			fmt.Fprintf(os.Stderr, "without %v\n", err)
		default:
			return stages, err
		}
	}
	return stages, nil
}
