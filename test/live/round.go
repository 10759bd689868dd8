package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/test/packet"
)

// kinds are in the order in which they are sent: whoever tracks connections sees
// their SYNs first. Those of fresh are of more flows than are ever sent.
func (z size) kinds() []kind {
	return []kind{
		{"begin", packet.TCPIP, packet.SYN, z.flowBits},
		{"tcp-16k", packet.TCPIP, packet.ACK, z.flowBits},
		{"udp-16k", packet.UDPIP, 0, z.flowBits},
		{fresh, packet.TCPIP, packet.SYN, 24},
	}
}

const fresh = "new-tcp"

// size is how much is sent and asked in a round, and among how many flows.
type size struct{ rounds, flowBits, frames, fresh, connections, questions int }

var (
	full     = size{rounds: 7, flowBits: 14, frames: 60_000, fresh: 12_000, connections: 800, questions: 4000}
	smoke    = size{rounds: 1, flowBits: 10, frames: 2000, fresh: 500, connections: 32, questions: 160}
	emulated = size{rounds: 5, flowBits: 14, frames: 10_000, fresh: 5_000, connections: 100, questions: 500}
)

// result is of one contender in one scenario, an entry a round.
type result struct {
	scenario, contender string
	ns                  []float64 // of the CPU, for each frame or answer
	p50, p99            []time.Duration
	sent, arrived       uint64
	program             float64 // ns of each run of the balancer's, if it is one of XDP; see look
}

type results []*result

func (all *results) of(scenario, contender string) *result {
	for _, r := range *all {
		if r.scenario == scenario && r.contender == contender {
			return r
		}
	}
	r := &result{scenario: scenario, contender: contender}
	*all = append(*all, r)
	return r
}

// takeTurns gives each contender a turn of each kind in each round.
func takeTurns(ctx context.Context, stages []*stage, z size) (all results, err error) {
	for _, s := range stages {
		if err := s.warmUp(ctx, z); err != nil {
			return nil, err
		}
	}
	z.fresh = min(z.fresh, tracked()/4/z.rounds)
	for round := range z.rounds {
		for _, k := range z.kinds()[1:] {
			for _, s := range stages {
				frames := z.frames
				if k.name == fresh {
					frames = z.fresh
				}
				if err := all.pass(ctx, s, k, frames); err != nil {
					return all, err
				}
			}
		}
		for _, s := range stages {
			if err := all.ask(ctx, s, z); err != nil {
				return all, err
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, z.rounds)
	}
	return all, all.look(ctx, stages, z)
}

// warmUp lets neighbours be found and connections begin, and the first frames get
// lost for it.
func (s *stage) warmUp(ctx context.Context, z size) error {
	if s.asked {
		if err := s.awaitAnswer(ctx); err != nil {
			return err
		}
	}
	if !s.frames {
		return nil
	}
	for _, k := range z.kinds() {
		if k.name == fresh {
			continue
		}
		// Every flow has to have begun, however long that takes.
		p, err := s.pass(ctx, k, 4*window+1<<z.flowBits, longest)
		if err != nil {
			return err
		}
		if p.arrived == 0 {
			return fmt.Errorf("%s: none of %d frames of %s arrived", s.name, p.sent, k.name)
		}
	}
	return nil
}

func (all *results) pass(ctx context.Context, s *stage, k kind, frames int) error {
	if !s.frames {
		return nil
	}
	p, err := s.pass(ctx, k, frames, longestTurn)
	if err != nil {
		return err
	}
	if p.arrived == 0 {
		return fmt.Errorf("%s: none of %d frames of %s arrived", s.name, p.sent, k.name)
	}
	r := all.of(k.name, s.name)
	r.sent, r.arrived = r.sent+p.sent, r.arrived+p.arrived
	r.ns = append(r.ns, float64(p.took.Nanoseconds())/float64(p.arrived))
	return nil
}

func (all *results) ask(ctx context.Context, s *stage, z size) error {
	if !s.asked {
		return nil
	}
	connected, err := s.connect(ctx, z.connections)
	if err != nil {
		return err
	}
	all.of("connections", s.name).add(connected)
	conversed, err := s.converse(ctx, z.questions)
	if err != nil {
		return err
	}
	all.of("questions", s.name).add(conversed)
	return nil
}

func (r *result) add(t talk) {
	r.sent, r.arrived = r.sent+uint64(t.answered), r.arrived+uint64(t.answered)
	r.ns = append(r.ns, float64(t.took.Nanoseconds())/float64(t.answered))
	r.p50, r.p99 = append(r.p50, t.latency(50)), append(r.p99, t.latency(99))
}

// tracked is how many connections this kernel's tracking would hold.
func tracked() int {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	most, failed := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || failed != nil {
		return 1 << 18
	}
	return most
}

// median is the lower one of two.
func median[T float64 | time.Duration](of []T) T {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[(len(sorted)-1)/2]
}
