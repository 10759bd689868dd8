package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// rivals are whom a contender is compared to, the first that took part.
var rivals = map[bool][]string{
	false: {"nftables-fwd", "ipvs-dr"},
	true:  {"nftables-dnat", "ipvs-nat"},
}

// answers says whether a contender is on the way back, too.
func (r *result) answers() bool {
	i := slices.IndexFunc(contenders, func(c contender) bool { return c.name == r.contender })
	return i >= 0 && contenders[i].answers
}

func (r *result) ofClients() bool { return r.scenario == "connections" || r.scenario == "questions" }

// first of these contenders in the result's scenario; nil if none took part.
func (all results) first(r *result, names ...string) *result {
	for _, name := range names {
		i := slices.IndexFunc(all, func(other *result) bool { return other.scenario == r.scenario && other.contender == name })
		if i >= 0 && len(all[i].ns) > 0 {
			return all[i]
		}
	}
	return nil
}

func (all results) rival(r *result) *result {
	if r.ofClients() {
		return all.first(r, "haproxy", "nftables-dnat", "ipvs-nat")
	}
	return all.first(r, rivals[r.answers()]...)
}

// wire is what there is without a balancer. Connections have just one.
func (all results) wire(r *result) *result {
	if r.answers() && !r.ofClients() {
		return all.first(r, "wire-back")
	}
	return all.first(r, "wire")
}

// own is the time that is the balancer's, of each round: what the whole way took more
// than the wire did in that round.
func (all results) own(r *result) (own []float64) {
	wire := all.wire(r)
	for i, ns := range r.ns {
		if wire != nil && i < len(wire.ns) && wire != r {
			own = append(own, ns-wire.ns[i])
		}
	}
	slices.Sort(own)
	return own
}

// ratios are how many times as many packets or answers as through the rival a CPU
// second is good for: on the whole way, and of the balancer's own time. The latter is
// zero unless both took more than the wire in every round: else it is of noise.
func (all results) ratios(r *result) (whole, own float64) {
	other := all.rival(r)
	if other == nil || other == r || len(r.ns) == 0 {
		return 0, 0
	}
	if mine, theirs := all.own(r), all.own(other); len(mine) > 0 && len(theirs) > 0 && mine[0] > 0 && theirs[0] > 0 {
		own = median(theirs) / median(mine)
	}
	return median(other.ns) / median(r.ns), own
}

func (all results) print(to io.Writer) {
	for _, clients := range []bool{false, true} {
		unit, what, times := 1.0, "frames, ns", "lost, program"
		if clients {
			unit, what, times = 1e3, "clients, us", "p50, p99 us"
		}
		fmt.Fprintf(to, "\n%-12s %-20s %8s %11s %8s %-17s %-13s %s\n", what, "", "all", "a second", "own", "  least to most", times, "times, and by own")
		for _, r := range all {
			if r.ofClients() == clients && len(r.ns) > 0 {
				end := fmt.Sprint(r.sent - r.arrived)
				if r.program > 0 {
					end += fmt.Sprintf(", %.0f", r.program)
				}
				if clients {
					end = fmt.Sprintf("%.0f, %.0f", microseconds(median(r.p50)), microseconds(median(r.p99)))
				}
				fmt.Fprintf(to, "%-12s %-20s %8.1f %11.0f %s %-13s %s\n", r.scenario, r.contender,
					median(r.ns)/unit, 1e9/median(r.ns), all.share(r, unit), end, all.times(r))
			}
		}
	}
}

// share is the balancer's own, and its spread.
func (all results) share(r *result, unit float64) string {
	own := all.own(r)
	if len(own) == 0 {
		return fmt.Sprintf("%26s", "")
	}
	return fmt.Sprintf("%8.1f %8.1f %8.1f", median(own)/unit, own[0]/unit, own[len(own)-1]/unit)
}

func (all results) times(r *result) string {
	whole, own := all.ratios(r)
	if whole == 0 {
		return ""
	}
	text := fmt.Sprintf("%.2f", whole)
	if own > 0 {
		text += fmt.Sprintf(", %.1f", own)
	}
	return text + " of " + all.rival(r).contender
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// json has a scenario for each contender: tcp-16k-pointsman-nat.
func (all results) json() ([]byte, error) {
	type entry struct {
		All       float64   `json:"ns"`
		CPUSecond float64   `json:"per_cpu_second"`
		Rounds    []float64 `json:"rounds_ns"`
		Own       []float64 `json:"own_ns_sorted,omitempty"`
		Ratio     float64   `json:"ratio,omitempty"`
		RatioOwn  float64   `json:"ratio_own,omitempty"`
		Rival     string    `json:"rival,omitempty"`
		Lost      uint64    `json:"lost"`
		Program   float64   `json:"program_ns,omitempty"`
		P50       float64   `json:"p50_us,omitempty"`
		P99       float64   `json:"p99_us,omitempty"`
	}
	entries := make(map[string]entry)
	for _, r := range all {
		if len(r.ns) == 0 {
			continue
		}
		e := entry{
			All: median(r.ns), CPUSecond: 1e9 / median(r.ns), Rounds: r.ns, Own: all.own(r), Lost: r.sent - r.arrived, Program: r.program,
			P50: microseconds(median(r.p50)), P99: microseconds(median(r.p99)),
		}
		if e.Ratio, e.RatioOwn = all.ratios(r); e.Ratio > 0 {
			e.Rival = all.rival(r).contender
		}
		entries[r.scenario+"-"+r.contender] = e
	}
	text, err := json.MarshalIndent(entries, "", "  ")
	return append(text, '\n'), err
}
