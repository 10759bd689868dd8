package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// requestsPerVIP are enough for shares to within a few percent.
const requestsPerVIP = 2000

// spread sends requests to every VIP, shows who answered, and compares the
// shares of the backends with their weights.
func (s *stage) spread(ctx context.Context, alive []backend) (traffic.Answers, error) {
	say("  %-37s %s", fmt.Sprintf("%d requests to each VIP", requestsPerVIP), columns(func(b backend) string { return b.name }))
	say("  %-37s %s", "should be", columns(func(b backend) string { return percent(share(b, alive)) }))
	var answers traffic.Answers
	var problems []error
	for _, service := range services {
		for i := range service.vips {
			load := traffic.Load{From: s.Lab.Client, Kind: service.kind, To: service.listen(i), Requests: requestsPerVIP, Workers: 8}
			got := load.Run(ctx)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			counts := got.Counts()
			say("  %-37s %s", fmt.Sprintf("%s %s/%s by %s", service.name, service.listen(i), service.protocol, service.forward),
				columns(func(b backend) string { return percent(float64(counts[b.name]) / requestsPerVIP) }))
			problems = append(problems, judge(service.listen(i), got, alive))
			answers = append(answers, got...)
		}
	}
	return answers, errors.Join(problems...)
}

// share is the part of the requests that is a backend's by weight.
func share(b backend, alive []backend) float64 {
	sum, own := 0, 0
	for _, a := range alive {
		sum += a.weight
		if a == b {
			own = a.weight
		}
	}
	return float64(own) / float64(sum)
}

// judge allows five standard deviations of a binomial distribution: one run in
// a hundred thousand is further off by chance.
func judge(vip netip.AddrPort, got traffic.Answers, alive []backend) error {
	var problems []error
	if failed := got.Failed(); len(failed) > 0 {
		problems = append(problems, fmt.Errorf("%d of %d requests to %s got no answer, the first: %w", len(failed), len(got), vip, failed[0].Err))
	}
	n, counts := float64(len(got)), got.Counts()
	for _, b := range backends {
		want := share(b, alive)
		if off := math.Abs(float64(counts[b.name]) - want*n); off > 5*math.Sqrt(n*want*(1-want)) {
			problems = append(problems, fmt.Errorf("%s answered %d of %d requests to %s, its weight asks for %.0f", b.name, counts[b.name], len(got), vip, want*n))
		}
	}
	return errors.Join(problems...)
}

func columns(cell func(backend) string) string {
	var row []string
	for _, b := range backends {
		row = append(row, fmt.Sprintf("%9s", cell(b)))
	}
	return strings.Join(row, " ")
}

func (s *stage) victimHost() *lab.Host {
	for _, h := range s.Lab.Backends {
		if h.Name == victim.name {
			return h
		}
	}
	panic("the victim is not in the lab")
}

// isVictim takes an address as pointsman backends prints it.
func (s *stage) isVictim(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && (a.Addr() == s.victimHost().Addr4 || a.Addr() == s.victimHost().Addr6)
}
