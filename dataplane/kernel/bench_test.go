package kernel

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

// BenchmarkPrivilegedPackets times the shipped program, a packet at a time, under
// BPF_PROG_TEST_RUN and behind a driver (bench_driver_test.go). All scenarios take
// turns in several rounds, the empty programs among them, so that a machine that is
// busy for a second spoils one turn of each and not all turns of one. Judge by the
// least time, as a ratio to the least time of the empty program.
//
// From the environment: BENCH is a regular expression of scenarios, BENCH_QUICK
// takes few and short rounds, BENCH_JSON and BENCH_SVG are files for the results and
// for a plot of time against flows.
func BenchmarkPrivilegedPackets(b *testing.B) {
	pattern, err := regexp.Compile(os.Getenv("BENCH"))
	if err != nil {
		b.Fatal(err)
	}
	rounds, packets := 15, 1<<20
	if os.Getenv("BENCH_QUICK") != "" {
		rounds, packets = 3, 1<<18
	}
	for b.Loop() {
		var chosen []scenario
		for _, s := range scenarios() {
			if pattern.MatchString(s.name) || s.empty != "" {
				chosen = append(chosen, s)
			}
		}
		results := takeTurns(b, prepareAll(b, chosen), rounds, packets)
		fmt.Print(results.table())
		for variable, form := range map[string]func() []byte{"BENCH_JSON": results.json, "BENCH_SVG": results.svg} {
			if file := os.Getenv(variable); file != "" {
				if err := os.WriteFile(file, form(), 0o644); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(0, "ns/op")
}

// takeTurns gives every scenario a turn in each round.
func takeTurns(tb testing.TB, all []*prepared, rounds, packets int) timings {
	tb.Helper()
	results := make(timings, len(all))
	for i, p := range all {
		results[i] = timing{scenario: p.scenario}
	}
	start := time.Now()
	for round := range rounds {
		for i, p := range all {
			results[i].ns = append(results[i].ns, p.turn(tb, packets))
		}
		each := time.Since(start) / time.Duration(round+1)
		fmt.Fprintf(os.Stderr, "round %d of %d: %s so far, %s to go\n", round+1, rounds,
			time.Since(start).Round(time.Second), (each * time.Duration(rounds-round-1)).Round(time.Second))
	}
	return results
}

// What is timed must be what its name says. No time is judged here.
func TestPrivilegedEveryScenarioIsWhatItSays(t *testing.T) {
	const packets = 4096
	for _, p := range prepareAll(t, oneWorldOfEachKind(scenarios())) {
		if p.in == nil {
			p.run(t, packets)
			continue
		}
		if p.before != nil {
			p.before(p.in)
		}
		before := p.counts(t)
		p.run(t, packets)
		after := p.counts(t)
		sent := uint64(packets * len(p.drivers))
		if got := after.Outcomes[p.outcome] - before.Outcomes[p.outcome]; got != sent {
			t.Errorf("%s: %d of %d packets are %s", p.name, got, sent, p.outcome)
		}
		inserted, want := after.Flows.Inserted-before.Flows.Inserted, uint64(0)
		if p.nat != nil {
			inserted = p.in.halfOpen()
		}
		if p.inserts {
			want = sent
		}
		// One bucket of eight in twenty is full, of a table that is half full.
		if inserted > want || inserted < want-want/10 {
			t.Errorf("%s: %d flows were remembered, want %d", p.name, inserted, want)
		}
	}
}

func oneWorldOfEachKind(all []scenario) []scenario {
	chosen := make(map[string]string)
	return slices.DeleteFunc(all, func(s scenario) bool {
		if s.step != "" {
			return true // it is no whole program
		}
		kind, _ := kindOf(s.world)
		if chosen[kind] == "" {
			chosen[kind] = s.world
		}
		return chosen[kind] != s.world
	})
}
