package kernel

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// The plot of time against flows: its lines are families of scenarios, one for each
// number of flows.
var plotted = []struct{ family, colour string }{
	{"established-tcp4-ipip", "#1b6ca8"},
	{"syn-tcp4-ipip", "#d1495b"},
	{"udp4-ipip", "#2e933c"},
	{"established-tcp6-ipip", "#8e5ea2"},
	{"established-tcp4-gue", "#e09f3e"},
	{"established-tcp4-l2", "#5c677d"},
}

const (
	plotWidth, plotHeight = 720, 400
	plotLeft, plotTop     = 60, 30
	plotRight, plotBottom = 520, 350
)

// svg draws the least times; the empty program's is a dashed line.
func (all timings) svg() []byte {
	byName, most := make(map[string]float64), 0.0
	for _, t := range all {
		byName[t.scenario.name] = t.least()
	}
	for _, line := range plotted {
		for _, count := range flowCounts {
			most = max(most, byName[line.family+"-"+count.name])
		}
	}
	most = math.Ceil(max(most, 1)/20) * 20
	x := func(bits int) float64 { return plotLeft + float64(bits)*(plotRight-plotLeft)/24 }
	y := func(ns float64) float64 { return plotBottom - ns*(plotBottom-plotTop)/most }
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	text := func(x, y float64, anchor, colour, label string) {
		fmt.Fprintf(&s, `<text x="%.0f" y="%.0f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, label)
	}
	for ns := 0.0; ns <= most; ns += 20 {
		fmt.Fprintf(&s, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#ddd"/>`+"\n", plotLeft, y(ns), plotRight, y(ns))
		text(plotLeft-6, y(ns)+4, "end", "black", fmt.Sprintf("%.0f", ns))
	}
	for _, count := range flowCounts {
		text(x(count.bits), plotBottom+18, "middle", "black", count.name)
	}
	text(plotLeft, plotTop-12, "start", "black", "ns a packet, least of all rounds")
	text((plotLeft+plotRight)/2, plotBottom+38, "middle", "black", "flows")
	if empty, measured := byName[emptyTX]; measured {
		fmt.Fprintf(&s, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="black" stroke-dasharray="4"/>`+"\n", plotLeft, y(empty), plotRight, y(empty))
		text(plotRight+8, y(empty)+4, "start", "black", "empty program")
	}
	for i, line := range plotted {
		var points []string
		for _, count := range flowCounts {
			if ns, measured := byName[line.family+"-"+count.name]; measured {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(count.bits), y(ns)))
			}
		}
		fmt.Fprintf(&s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), line.colour)
		text(plotRight+8, plotTop+float64(18*i), "start", line.colour, line.family)
	}
	s.WriteString("</svg>\n")
	return []byte(s.String())
}

func TestThePlotHasALineForEachFamilyAndAPointForEachNumberOfFlows(t *testing.T) {
	var all timings
	for _, line := range plotted {
		for _, count := range flowCounts {
			all = append(all, timing{scenario{name: line.family + "-" + count.name}, []float64{100, 90}})
		}
	}
	drawn := string(all.svg())
	if got := strings.Count(drawn, "<polyline"); got != len(plotted) {
		t.Errorf("%d lines for %d families", got, len(plotted))
	}
	if want := `points="60.0,62.0 328.3,62.0 424.2,62.0 520.0,62.0"`; strings.Count(drawn, want) != len(plotted) {
		t.Errorf("no line has %s:\n%s", want, drawn)
	}
}
