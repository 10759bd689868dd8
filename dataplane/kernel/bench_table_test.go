package kernel

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// timing is the time of a packet in each round, in nanoseconds.
type timing struct {
	scenario scenario
	ns       []float64
}

type timings []timing

func (t timing) least() float64 { return slices.Min(t.ns) }

func (t timing) median() float64 {
	sorted := slices.Sorted(slices.Values(t.ns))
	return sorted[len(sorted)/2]
}

// ratio is of the least times; 0 for an empty program.
func (all timings) ratio(t timing) float64 {
	for _, empty := range all {
		if empty.scenario.name == t.scenario.against {
			return t.least() / empty.least()
		}
	}
	return 0
}

func (all timings) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%-38s %8s %8s %8s %8s  %s\n", "ns a packet", "least", "median", "most", "ratio", "to")
	for _, t := range all {
		fmt.Fprintf(&text, "%-38s %8.0f %8.0f %8.0f", t.scenario.name, t.least(), t.median(), slices.Max(t.ns))
		if ratio := all.ratio(t); ratio > 0 {
			fmt.Fprintf(&text, " %8.2f  %s", ratio, t.scenario.against)
		}
		text.WriteString("\n")
	}
	return text.String()
}

func (all timings) json() []byte {
	type result struct {
		Least  float64 `json:"ns_min"`
		Median float64 `json:"ns_median"`
		Ratio  float64 `json:"ratio,omitempty"`
	}
	results := make(map[string]result)
	for _, t := range all {
		results[t.scenario.name] = result{t.least(), t.median(), all.ratio(t)}
	}
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		panic(err) // numbers and strings
	}
	return append(text, '\n')
}

func TestRatiosAreOfTheLeastTimes(t *testing.T) {
	all := timings{
		{scenario{name: emptyTX}, []float64{90, 50, 60}},
		{scenario{name: "a", against: emptyTX}, []float64{200, 300, 100, 400}},
	}
	const want = `{
  "a": {
    "ns_min": 100,
    "ns_median": 300,
    "ratio": 2
  },
  "empty-tx": {
    "ns_min": 50,
    "ns_median": 60
  }
}
`
	if got := string(all.json()); got != want {
		t.Errorf("got %s", got)
	}
	if table := all.table(); !strings.Contains(table, " 2.00  empty-tx") || strings.Count(table, "\n") != 4 {
		t.Errorf("got %s", table)
	}
}
