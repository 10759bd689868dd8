package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/test/traffic"
)

// clients ask at a time.
const clients = 32

// talk is how questions were answered.
type talk struct {
	answered  int
	took      time.Duration
	latencies []time.Duration // sorted
}

func (t talk) latency(percent int) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	return t.latencies[min(len(t.latencies)*percent/100, len(t.latencies)-1)]
}

// timed is a talk.
func timed(ask func() ([]time.Duration, error)) (t talk, err error) {
	began := time.Now()
	t.latencies, err = ask()
	t.took = time.Since(began)
	slices.Sort(t.latencies)
	t.answered = len(t.latencies)
	return t, err
}

// connect opens so many connections, each for one greeting.
func (s *stage) connect(ctx context.Context, connections int) (talk, error) {
	return timed(func() ([]time.Duration, error) {
		load := traffic.Load{From: s.Lab.Client, Kind: traffic.TCP, To: asked, Requests: connections, Workers: clients, Timeout: 5 * time.Second}
		answers := load.Run(ctx)
		var took []time.Duration
		for _, a := range answers {
			if a.Err != nil {
				return took, fmt.Errorf("connecting through %s: %w", s.name, a.Err)
			}
			took = append(took, a.Took)
		}
		return took, ctx.Err()
	})
}

// converse asks so many questions on connections that stay.
func (s *stage) converse(ctx context.Context, questions int) (talk, error) {
	lines := make([]*bufio.ReadWriter, clients)
	for i := range lines {
		conn, err := s.Lab.Client.Dial(ctx, "tcp", asked.String())
		if err != nil {
			return talk{}, fmt.Errorf("connecting through %s: %w", s.name, err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return talk{}, err
		}
		lines[i] = bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		if _, err := lines[i].ReadString('\n'); err != nil {
			return talk{}, err
		}
	}
	return timed(func() ([]time.Duration, error) {
		var lock sync.Mutex
		var all []time.Duration
		var failures []error
		var talking sync.WaitGroup
		for _, line := range lines {
			talking.Go(func() {
				took, err := question(ctx, line, questions/clients)
				lock.Lock()
				defer lock.Unlock()
				all, failures = append(all, took...), append(failures, err)
			})
		}
		talking.Wait()
		return all, errors.Join(failures...)
	})
}

func question(ctx context.Context, line *bufio.ReadWriter, questions int) (took []time.Duration, err error) {
	for range questions {
		began := time.Now()
		if _, err := io.WriteString(line, "who are you?\n"); err != nil {
			return took, err
		}
		if err := line.Flush(); err != nil {
			return took, err
		}
		if _, err := line.ReadString('\n'); err != nil {
			return took, err
		}
		took = append(took, time.Since(began))
		if ctx.Err() != nil {
			return took, ctx.Err()
		}
	}
	return took, nil
}

// awaitAnswer returns when connections get through.
func (s *stage) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := s.connect(ctx, 1)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
