package main

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/balancer"
)

func TestPrivilegedFramesAndClientsGetThroughEachKindOfBalancer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces and BPF programs need root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	binary, err := balancer.Build(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile("^(pointsman-(ipip|nat)|nftables-dnat|haproxy)$")
	for _, c := range contenders {
		if missing := c.missing(); missing != "" && pattern.MatchString(c.name) {
			t.Error(missing)
		}
	}
	stages, err := openAll(ctx, binary, pattern)
	defer func() {
		for _, s := range stages {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}
	}()
	if err != nil {
		t.Fatal(err)
	}
	all, err := takeTurns(ctx, stages, smoke)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stages {
		for _, k := range smoke.kinds()[1:] {
			r := all.of(k.name, s.name)
			if s.frames && (r.arrived == 0 || r.arrived > r.sent || len(r.ns) != smoke.rounds) {
				t.Errorf("%s of %s: %d of %d arrived, and took %v ns each", k.name, s.name, r.arrived, r.sent, r.ns)
			}
			if is := s.frames && len(s.needs) == 0; (r.program > 0) != is {
				t.Errorf("%s of %s: a program runs for %v ns", k.name, s.name, r.program)
			}
		}
		for scenario, want := range map[string]int{"connections": smoke.connections, "questions": smoke.questions} {
			if r := all.of(scenario, s.name); s.asked && int(r.arrived) != want {
				t.Errorf("%s of %s: %d of %d were answered", scenario, s.name, r.arrived, want)
			}
		}
	}
	if text, err := all.json(); err != nil || !strings.Contains(string(text), `"tcp-16k-pointsman-nat"`) {
		t.Errorf("the results do not name a contender's scenario: %s, %v", text, err)
	}
}

func TestOwnTimeIsWhatARoundTookMoreThanTheWireOfThatWay(t *testing.T) {
	all := results{
		{scenario: "tcp-16k", contender: "wire", ns: []float64{1}},
		{scenario: "tcp-16k", contender: "wire-back", ns: []float64{1000, 5000, 1000}},
		{scenario: "tcp-16k", contender: "nftables-fwd", ns: []float64{700}},
		{scenario: "tcp-16k", contender: "nftables-dnat", ns: []float64{4000, 8000, 4000}},
		{scenario: "tcp-16k", contender: "pointsman-nat", ns: []float64{1500, 5400, 1600}},
	}
	if own := all.own(all[4]); !slices.Equal(own, []float64{400, 500, 600}) {
		t.Errorf("the balancer's own time is %v", own)
	}
	if whole, own := all.ratios(all[4]); whole != 2.5 || own != 6 {
		t.Errorf("the ratios are %v, and %v of own time", whole, own)
	}
	var text strings.Builder
	all.print(&text)
	if want := "2.50, 6.0 of nftables-dnat"; !strings.Contains(text.String(), want) {
		t.Errorf("the table does not say %q:\n%s", want, text.String())
	}
}
