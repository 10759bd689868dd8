package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/controlplane/api"
)

var sortNames = []string{"flows", "packets", "bits", "name", "state"}

// sortKeys are what to press for them.
var sortKeys = map[byte]string{'f': "flows", 'p': "packets", 'b': "bits", 'n': "name", 's': "state"}

// topView is what top shows, and how. It asks nobody and writes nowhere.
type topView struct {
	sort     string
	reverse  bool
	filter   string
	typing   bool // the filter
	backends bool
	paused   bool
	lost     string // why the daemon did not answer

	status   api.Status
	now      sampled
	before   sampled
	drops    float64 // per second, of all reasons
	measured bool    // two looks were taken
}

// sampled is what was counted at a time.
type sampled struct {
	at       time.Time
	services []api.ServiceBackends
	drops    uint64
}

// topRow is a line of the table.
type topRow struct {
	Name    string    `json:"name"` // of the service
	Backend string    `json:"backend,omitempty"`
	State   string    `json:"state"`
	Up      int       `json:"backends_up"` // of the service
	Total   int       `json:"backends_total"`
	Rates   api.Rates `json:"rates"`
	Reason  string    `json:"reason,omitempty"`
}

// topDocument is what `top -o json` prints.
type topDocument struct {
	SchemaVersion int       `json:"schema_version"`
	At            time.Time `json:"at"`
	Seconds       float64   `json:"seconds"` // that were measured over
	Drops         float64   `json:"dropped_packets_per_second"`
	Rows          []topRow  `json:"rows"`
}

func (v *topView) document() topDocument {
	return topDocument{1, v.now.at, v.now.at.Sub(v.before.at).Seconds(), v.drops, v.rows()}
}

// take takes another look.
func (v *topView) take(at time.Time, status api.Status, services []api.ServiceBackends) {
	v.before, v.now, v.status = v.now, sampled{at: at, services: services}, status
	for name, n := range status.Outcomes {
		if strings.HasPrefix(name, "DROP_") {
			v.now.drops += n
		}
	}
	v.measured = !v.before.at.IsZero()
	v.drops = v.perSecond(v.before.drops, v.now.drops)
}

// perSecond is nothing of a counter that was begun anew.
func (v *topView) perSecond(before, now uint64) float64 {
	if seconds := v.now.at.Sub(v.before.at).Seconds(); v.measured && seconds > 0 && now >= before {
		return float64(now-before) / seconds
	}
	return 0
}

// rows are what is to be shown, in order.
func (v *topView) rows() []topRow {
	rows := v.serviceRows()
	if v.backends {
		rows = v.backendRows()
	}
	rows = slices.DeleteFunc(rows, func(r topRow) bool { return !strings.Contains(strings.Join(r.cells(true), " "), v.filter) })
	slices.SortStableFunc(rows, v.compare)
	return rows
}

func (v *topView) serviceRows() []topRow {
	before := map[string]api.Service{}
	for _, s := range v.before.services {
		before[s.Name] = s.Service
	}
	rows := []topRow{}
	for _, s := range v.now.services {
		row := topRow{Name: s.Name, State: s.State, Up: s.BackendsUp, Total: s.BackendsTotal, Reason: s.Reason}
		if was, known := before[s.Name]; known {
			row.Rates = v.rates(was.NewFlows, s.NewFlows, was.Packets, s.Packets, was.Bytes, s.Bytes)
		}
		rows = append(rows, row)
	}
	return rows
}

func (v *topView) backendRows() []topRow {
	before := map[[2]string]api.Backend{}
	for _, s := range v.before.services {
		for _, b := range s.Backends {
			before[[2]string{s.Name, b.Address}] = b
		}
	}
	rows := []topRow{}
	for _, s := range v.now.services {
		for _, b := range s.Backends {
			row := topRow{Name: s.Name, Backend: b.Address, State: b.State, Up: s.BackendsUp, Total: s.BackendsTotal, Reason: b.Reason}
			if was, known := before[[2]string{s.Name, b.Address}]; known {
				row.Rates = v.rates(was.NewFlows, b.NewFlows, was.Packets, b.Packets, was.Bytes, b.Bytes)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (v *topView) rates(flowsBefore, flows, packetsBefore, packets, bytesBefore, bytes uint64) api.Rates {
	return api.Rates{NewFlows: v.perSecond(flowsBefore, flows), Packets: v.perSecond(packetsBefore, packets), Bits: 8 * v.perSecond(bytesBefore, bytes)}
}

func (v *topView) compare(a, b topRow) int {
	by := 0
	switch v.sort {
	case "flows":
		by = cmp.Compare(b.Rates.NewFlows, a.Rates.NewFlows)
	case "packets":
		by = cmp.Compare(b.Rates.Packets, a.Rates.Packets)
	case "bits":
		by = cmp.Compare(b.Rates.Bits, a.Rates.Bits)
	case "state":
		by = strings.Compare(a.State, b.State)
	}
	by = cmp.Or(by, strings.Compare(a.Name, b.Name), strings.Compare(a.Backend, b.Backend))
	if v.reverse {
		return -by
	}
	return by
}

func (r topRow) cells(backends bool) []string {
	cells := []string{r.Name}
	if backends {
		cells = append(cells, dash(r.Backend))
	}
	cells = append(cells, r.State)
	if !backends {
		cells = append(cells, fmt.Sprintf("%d/%d", r.Up, r.Total))
	}
	return append(cells, short(r.Rates.NewFlows), short(r.Rates.Packets), short(r.Rates.Bits), dash(r.Reason))
}

func (v *topView) table() *table {
	t := newTable("SERVICE", "STATE", "UP", "FLOWS/S", "PACKETS/S", "BITS/S", "REASON")
	if v.backends {
		t = newTable("SERVICE", "BACKEND", "STATE", "FLOWS/S", "PACKETS/S", "BITS/S", "REASON")
	}
	for _, row := range v.rows() {
		t.row(row.cells(v.backends)...)
	}
	return t
}

// press does what a key asks for, and tells whether that was to quit.
func (v *topView) press(key byte) (quit bool) {
	const ctrlC, escape, backspace, del = 3, 27, 8, 127
	switch {
	case key == ctrlC:
		return true
	case v.typing && (key == '\r' || key == '\n'):
		v.typing = false
	case v.typing && key == escape:
		v.typing, v.filter = false, ""
	case v.typing && (key == backspace || key == del):
		v.filter = v.filter[:max(0, len(v.filter)-1)]
	case v.typing:
		if key >= ' ' && key < del {
			v.filter += string(rune(key))
		}
	case key == 'q':
		return true
	case key == '/':
		v.typing, v.filter = true, ""
	case key == 'r':
		v.reverse = !v.reverse
	case key == 't':
		v.backends = !v.backends
	case key == ' ':
		v.paused = !v.paused
	case sortKeys[key] != "":
		v.sort, v.reverse = sortKeys[key], false
	}
	return false
}

// frame is what fills a terminal.
func (v *topView) frame(width, height int) string {
	var text strings.Builder
	_ = v.table().print(&text) // a builder takes everything
	lines := append(v.head(), strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")...)
	if len(lines) > height {
		left := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… %d more", left))
	}
	var frame strings.Builder
	frame.WriteString(beginFrame)
	for i, line := range lines {
		if utf8.RuneCountInString(line) > width {
			line = string([]rune(line)[:width])
		}
		frame.WriteString(line)
		if i < len(lines)-1 {
			frame.WriteString(endLine)
		}
	}
	return frame.String() + "\x1b[K" + endFrame
}

// head are the lines above the table.
func (v *topView) head() []string {
	var all api.Rates
	for _, row := range v.serviceRows() {
		all.NewFlows += row.Rates.NewFlows
		all.Packets += row.Rates.Packets
		all.Bits += row.Rates.Bits
	}
	what := fmt.Sprintf("by %s", v.sort)
	if v.reverse {
		what += ", reversed"
	}
	if v.typing || v.filter != "" {
		what += "  /" + v.filter
	}
	if v.typing {
		what += "_"
	}
	if v.paused {
		what += "  paused"
	}
	state := fmt.Sprintf("pointsman %s, services %s", v.status.State, serviceCounts(v.status.Services))
	if v.lost != "" {
		state = v.lost
	}
	return []string{
		state,
		fmt.Sprintf("%s flows/s, %s packets/s, %s bits/s, %s drops/s", short(all.NewFlows), short(all.Packets), short(all.Bits), short(v.drops)),
		what + "  (f p b n s sort, r turn, t backends, / filter, space stop, q quit)",
		"",
	}
}
