package kernel

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// chart is time against a number of things, each line a family of scenarios, of which
// those that were not measured are left out.
type chart struct {
	axis  string
	bits  int // the logarithm of the number at its right end
	ticks []plotPoint
	lines []plotLine
}

type plotLine struct {
	family, colour string
	points         []plotPoint
}

type plotPoint struct {
	name string // of the scenario; of a tick
	bits float64
}

var flowColours = []struct{ family, colour string }{
	{"established-tcp4-ipip", "#1b6ca8"},
	{"syn-tcp4-ipip", "#d1495b"},
	{"udp4-ipip", "#2e933c"},
	{"established-tcp6-ipip", "#8e5ea2"},
	{"established-tcp4-gue", "#e09f3e"},
	{"established-tcp4-l2", "#5c677d"},
}

func charts() []chart {
	flows := chart{axis: "flows", bits: 24}
	for _, count := range flowCounts {
		flows.ticks = append(flows.ticks, plotPoint{count.name, float64(count.bits)})
	}
	for _, line := range flowColours {
		flows.lines = append(flows.lines, plotLine{line.family, line.colour, namedAfter(line.family, flows.ticks)})
	}
	sizes := chart{axis: "VIPs, backends or services, and 512 k flows over all of them", bits: 14}
	for _, count := range []int{1, 10, 100, 1000, 10_000} {
		sizes.ticks = append(sizes.ticks, plotPoint{fmt.Sprint(count), math.Log2(float64(count))})
	}
	for i, kind := range []struct {
		name   string
		counts []int
	}{{"vips", vipCounts}, {"backends", backendCounts}, {"services", serviceCounts}} {
		var at []plotPoint
		for _, count := range kind.counts {
			at = append(at, plotPoint{fmt.Sprint(count), math.Log2(float64(count))})
		}
		sizes.lines = append(sizes.lines, plotLine{kind.name, flowColours[i].colour, namedAfter(kind.name, at)})
	}
	return []chart{flows, sizes}
}

// namedAfter are the scenarios of a family.
func namedAfter(family string, numbers []plotPoint) (all []plotPoint) {
	for _, number := range numbers {
		all = append(all, plotPoint{family + "-" + number.name, number.bits})
	}
	return all
}

const (
	plotWidth, plotHeight = 720, 400
	plotLeft, plotTop     = 60, 30
	plotRight, plotBottom = 520, 350
)

// svg draws the least times; the empty program's is a dashed line.
func (all timings) svg() []byte {
	byName := make(map[string]float64)
	for _, t := range all {
		byName[t.scenario.name] = t.least()
	}
	var s strings.Builder
	drawn := charts()
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight*len(drawn))
	fmt.Fprintf(&s, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i, c := range drawn {
		fmt.Fprintf(&s, `<g transform="translate(0 %d)">`+"\n", i*plotHeight)
		c.draw(&s, byName)
		s.WriteString("</g>\n")
	}
	s.WriteString("</svg>\n")
	return []byte(s.String())
}

func (c chart) draw(s *strings.Builder, byName map[string]float64) {
	most := 1.0
	for _, line := range c.lines {
		for _, point := range line.points {
			most = max(most, byName[point.name])
		}
	}
	most = math.Ceil(most/20) * 20
	x := func(bits float64) float64 { return plotLeft + bits*(plotRight-plotLeft)/float64(c.bits) }
	y := func(ns float64) float64 { return plotBottom - ns*(plotBottom-plotTop)/most }
	text := func(x, y float64, anchor, colour, label string) {
		fmt.Fprintf(s, `<text x="%.0f" y="%.0f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, label)
	}
	for ns := 0.0; ns <= most; ns += 20 {
		fmt.Fprintf(s, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" stroke="#ddd"/>`+"\n", plotLeft, y(ns), plotRight, y(ns))
		text(plotLeft-6, y(ns)+4, "end", "black", fmt.Sprintf("%.0f", ns))
	}
	for _, tick := range c.ticks {
		text(x(tick.bits), plotBottom+18, "middle", "black", tick.name)
	}
	text(plotLeft, plotTop-12, "start", "black", "ns a packet, least of all rounds")
	text((plotLeft+plotRight)/2, plotBottom+38, "middle", "black", c.axis)
	if empty, measured := byName[emptyTX]; measured {
		fmt.Fprintf(s, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="black" stroke-dasharray="4"/>`+"\n", plotLeft, y(empty), plotRight, y(empty))
		text(plotRight+8, y(empty)+4, "start", "black", "empty program")
	}
	for i, line := range c.lines {
		var points []string
		for _, point := range line.points {
			if ns, measured := byName[point.name]; measured {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x(point.bits), y(ns)))
			}
		}
		fmt.Fprintf(s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), line.colour)
		text(plotRight+8, plotTop+float64(18*i), "start", line.colour, line.family)
	}
}

func TestThePlotHasALineForEachFamilyAndAPointForEachNumber(t *testing.T) {
	var all timings
	lines, known := 0, make(map[string]bool)
	for _, s := range scenarios() {
		known[s.name] = true
	}
	for _, c := range charts() {
		lines += len(c.lines)
		for _, line := range c.lines {
			for _, point := range line.points {
				if !known[point.name] {
					t.Errorf("there is no scenario %s", point.name)
				}
				all = append(all, timing{scenario{name: point.name}, []float64{100, 90}})
			}
		}
	}
	drawn := string(all.svg())
	if got := strings.Count(drawn, "<polyline"); got != lines {
		t.Errorf("%d lines, want %d", got, lines)
	}
	if want := `points="60.0,62.0 328.3,62.0 424.2,62.0 520.0,62.0"`; strings.Count(drawn, want) != len(flowColours) {
		t.Errorf("no line has %s:\n%s", want, drawn)
	}
}
