package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// table prints rows in columns that are as wide as they must be. A headline
// stands between rows and belongs to no column.
type table struct{ lines [][]string }

func newTable(header ...string) *table { return &table{[][]string{header}} }

func (t *table) row(cells ...string) { t.lines = append(t.lines, cells) }

func (t *table) headline(text string) { t.lines = append(t.lines, []string{text}) }

func (t *table) print(w io.Writer) error {
	var columns widths
	for _, line := range t.lines {
		if len(line) > 1 {
			columns.widen(line)
		}
	}
	var text strings.Builder
	for _, line := range t.lines {
		text.WriteString(columns.line(line))
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// widths are those of columns.
type widths []int

// widen makes the columns as wide as the cells need.
func (c *widths) widen(cells []string) {
	for i, cell := range cells {
		if i == len(*c) {
			*c = append(*c, 0)
		}
		(*c)[i] = max((*c)[i], utf8.RuneCountInString(cell))
	}
}

// line is a row of cells, two spaces apart at least.
func (c widths) line(cells []string) string {
	var text strings.Builder
	for i, cell := range cells {
		text.WriteString(cell)
		if i < len(cells)-1 {
			text.WriteString(strings.Repeat(" ", c[i]-utf8.RuneCountInString(cell)+2))
		}
	}
	return text.String() + "\n"
}

// printJSON prints the document that -o json promises.
func printJSON(w io.Writer, document any) error {
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// age tells a duration as people say it, in its two largest units at most.
func age(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// dash stands for a cell that has nothing to say.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// short tells a number in three digits or so, with the letter of its thousands.
func short(n float64) string {
	switch {
	case n < 0.05:
		return "0"
	case n < 9.95:
		return fmt.Sprintf("%.1f", n)
	}
	for i, letter := range []string{"", "k", "M", "G", "T"} {
		scaled := n / math.Pow(1000, float64(i))
		switch {
		case i > 0 && scaled < 9.95:
			return fmt.Sprintf("%.1f%s", scaled, letter)
		case scaled < 999.5:
			return fmt.Sprintf("%.0f%s", scaled, letter)
		}
	}
	return fmt.Sprintf("%.0fP", n/1e15)
}
