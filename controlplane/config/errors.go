package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file. Line and Column count from 1; Line 0 is the
// file as a whole.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Place knows where a block and its keys stand.
type Place struct {
	block Position
	keys  map[string]Position
}

// At is where a key's value stands, or the block where the file does not give
// the key; At("") is always the block.
func (p Place) At(key string) Position {
	if at, given := p.keys[key]; given {
		return at
	}
	return p.block
}

// Error is one mistake in a file.
type Error struct {
	Position
	Source  string `json:"source"`  // the line, with secrets masked; empty for a whole file or a very long line
	Summary string `json:"summary"` // what is wrong
	Detail  string `json:"detail"`  // what to do about it; may be empty
}

func (e Error) Error() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %s", e.Position, e.Summary)
	margin := "  "
	if e.Source != "" {
		line, caret := window(e.Source, e.Column)
		fmt.Fprintf(&out, "\n%5d | %s", e.Line, line)
		margin = strings.Repeat(" ", 8) + caret + "^ "
	}
	if e.Source != "" || e.Detail != "" {
		out.WriteString("\n" + strings.TrimRight(margin+e.Detail, " "))
	}
	return out.String()
}

// Errors are all the mistakes of a configuration, in the order of the files.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, mistake := range e {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// And adds mistakes that others found.
func (e Errors) And(more Errors) Errors { return append(slices.Clone(e), more...).tidy() }

// tidy sorts by place and drops what is said twice at one place.
func (e Errors) tidy() Errors {
	slices.SortStableFunc(e, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(e)
}

// Mistake is an error at a place of the file which only later stages can find,
// such as a filter that Consul refuses.
func (f *File) Mistake(at Position, summary, detail string) Error {
	return f.sources.mistake(at, summary, detail)
}

// maxLineShown keeps a megabyte of minified JSON from being copied and shown
// once for each of its mistakes.
const maxLineShown = 8 << 10

// sources are the lines of every file that was read.
type sources map[string][][]byte

func (s sources) add(name string, src []byte) { s[name] = bytes.Split(src, []byte("\n")) }

func (s sources) mistake(at Position, summary, detail string) Error {
	e := Error{Position: at, Summary: summary, Detail: detail}
	if lines := s[at.File]; at.Line > 0 && at.Line <= len(lines) && len(lines[at.Line-1]) <= maxLineShown {
		e.Source = legible(lines[at.Line-1])
	}
	return e
}

// window cuts a long line, such as that of minified JSON, to what is around
// the column, and gives the space that puts a caret below the column.
func window(line string, column int) (shown, indent string) {
	const before, width = 60, 120
	runes := []rune(line)
	at := min(max(column-1, 0), len(runes))
	if len(runes) > width {
		from := max(at-before, 0)
		to := min(from+width, len(runes))
		left, right := "", ""
		if from > 0 {
			left = "…"
		}
		if to < len(runes) {
			right = "…"
		}
		line = left + string(runes[from:to]) + right
		runes, at = []rune(line), at-from+len([]rune(left))
	}
	for _, r := range runes[:at] {
		if r == '\t' {
			indent += "\t"
		} else {
			indent += " "
		}
	}
	return line, indent
}
