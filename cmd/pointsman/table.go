package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pointsman/pointsman/controlplane/api"
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

// clock is what ages are told by. Tests stop it.
var clock = time.Now

// age and short are told as the web page tells them.
func age(d time.Duration) string { return api.Age(d) }

func short(n float64) string { return api.Short(n) }

// dash stands for a cell that has nothing to say.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
