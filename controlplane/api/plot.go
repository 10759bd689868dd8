package api

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// plot is a curve for an SVG.
type plot struct {
	Name          string
	Width, Height int
	Latest, Most  float64
	Minutes       int
	Curve, Area   string // points
}

func packetsOf(r Rates) float64 { return r.Packets }

// plots are of the sums over the services of a history.
func plots(history RateHistory) []plot {
	sums := make([]Rates, len(history.Times))
	for _, s := range history.Services {
		for i, r := range s.Rates[:min(len(s.Rates), len(sums))] {
			sums[i].NewFlows += r.NewFlows
			sums[i].Packets += r.Packets
			sums[i].Bits += r.Bits
		}
	}
	const width, height = 600, 90
	return []plot{
		newPlot("Packets per second", history.Times, sums, packetsOf, width, height),
		newPlot("Bits per second", history.Times, sums, func(r Rates) float64 { return r.Bits }, width, height),
		newPlot("New flows per second", history.Times, sums, func(r Rates) float64 { return r.NewFlows }, width, height),
	}
}

// newPlot draws rates over their times, from zero to the largest.
func newPlot(name string, times []time.Time, rates []Rates, of func(Rates) float64, width, height int) plot {
	p := plot{Name: name, Width: width, Height: height}
	rates = rates[:min(len(rates), len(times))]
	if len(rates) == 0 {
		return p
	}
	first, last := times[0], times[len(rates)-1]
	p.Minutes = int(math.Ceil(last.Sub(first).Minutes()))
	for _, r := range rates {
		p.Most = max(p.Most, of(r))
	}
	p.Latest = of(rates[len(rates)-1])
	span, most := max(last.Sub(first).Seconds(), 1), max(p.Most, 1)
	var points []string
	for i, r := range rates {
		x := times[i].Sub(first).Seconds() / span * float64(width)
		y := float64(height) - of(r)/most*float64(height-2)
		points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
	}
	p.Curve = strings.Join(points, " ")
	p.Area = fmt.Sprintf("0,%d %s %d,%d", height, p.Curve, width, height)
	return p
}

// bar is how a service's slots of a protocol are shared among phases.
type bar struct {
	Title string // "tcp: 100 settled, 2 moving"
	Parts []barPart
}

// barPart is one phase, in hundredths of the bar.
type barPart struct {
	Phase    string
	X, Width float64
}

func bars(phases map[string]Phases) (all []bar) {
	for _, protocol := range []string{"tcp", "udp"} {
		p, listens := phases[protocol]
		if !listens {
			continue
		}
		one, x := bar{Title: protocol + ":"}, 0.0
		whole := float64(p.Settled) + float64(p.Moving) + float64(p.Learning) + float64(p.Settling)
		for i, n := range []uint32{p.Settled, p.Moving, p.Learning, p.Settling} {
			if n == 0 {
				continue
			}
			phase := []string{"settled", "moving", "learning", "settling"}[i]
			width := math.Round(1000*float64(n)/whole) / 10
			if len(one.Parts) > 0 {
				one.Title += ","
			}
			one.Title += fmt.Sprintf(" %d %s", n, phase)
			one.Parts = append(one.Parts, barPart{phase, x, width})
			x += width
		}
		all = append(all, one)
	}
	return all
}
