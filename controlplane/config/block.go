package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// block is a block of the file, checked against its schema, whose values have
// not been read yet.
type block struct {
	Place
	d      *decoder
	in     string // `service "web"`, as messages call it
	schema schema
	attrs  hcl.Attributes
	blocks hcl.Blocks
}

// decoder gathers the mistakes of all files.
type decoder struct {
	sources  sources
	bytes    map[string][]byte
	errs     Errors
	unparsed bool // a syntax error was reported: what was not seen may yet be there
}

func newDecoder() *decoder {
	return &decoder{sources: sources{}, bytes: map[string][]byte{}}
}

func (d *decoder) report(at Position, summary, detail string) {
	d.errs = append(d.errs, d.sources.mistake(at, summary, detail))
}

// open checks a body against a schema. in is "" for the file itself.
func (d *decoder) open(body hcl.Body, path, in string, at Position) *block {
	b := &block{Place: Place{block: at, keys: map[string]Position{}}, d: d, in: in, schema: schemas[path]}
	content, diags := body.Content(b.schema.hcl())
	d.diagnose(diags, b.schema.names(), in)
	b.attrs, b.blocks = content.Attributes, content.Blocks
	for name, attr := range b.attrs {
		b.keys[name] = position(attr.Expr.Range())
	}
	return b
}

// child opens a block within b under its full path.
func (b *block) child(from *hcl.Block, path string) *block {
	in := title(from)
	if b.in != "" {
		in += " of " + b.in
	}
	return b.d.open(from.Body, path, in, blockPosition(from))
}

// title is how messages call a block.
func title(b *hcl.Block) string {
	if len(b.Labels) > 0 {
		return fmt.Sprintf("%s %q", b.Type, b.Labels[0])
	}
	return b.Type
}

// blockPosition is where a block's label stands, or its type where it has none.
func blockPosition(b *hcl.Block) Position {
	if len(b.LabelRanges) > 0 {
		return position(b.LabelRanges[0])
	}
	return position(b.TypeRange)
}

// each are the blocks of one type.
func (b *block) each(name string) []*hcl.Block {
	var found []*hcl.Block
	for _, inner := range b.blocks {
		if inner.Type == name {
			found = append(found, inner)
		}
	}
	return found
}

// one is the block of a type that may stand only once, or nil.
func (b *block) one(name string) *hcl.Block {
	found := b.each(name)
	if len(found) == 0 {
		return nil
	}
	for _, again := range found[1:] {
		b.d.report(blockPosition(again), fmt.Sprintf("a second %s block%s", name, b.where()),
			fmt.Sprintf("the first is at %s; keep one of them", blockPosition(found[0])))
	}
	return found[0]
}

// where continues a sentence with the block's name.
func (b *block) where() string {
	if b.in == "" {
		return ""
	}
	return " in " + b.in
}

// filled reports a list that is there and empty.
func (b *block) filled(key, detail string) {
	attr, given := b.attrs[key]
	if !given {
		return
	}
	if elements, diags := hcl.ExprList(attr.Expr); !diags.HasErrors() && len(elements) == 0 {
		b.d.report(b.At(key), fmt.Sprintf("%q%s is empty", key, b.where()), detail)
	}
}

// require reports a key that is missing.
func (b *block) require(key, detail string) {
	if _, given := b.attrs[key]; !given {
		b.d.report(b.block, fmt.Sprintf("%q is missing%s", key, b.where()), detail)
	}
}

func position(r hcl.Range) Position {
	return Position{File: r.Filename, Line: r.Start.Line, Column: r.Start.Column}
}

// diagnose reports what the parser found. Names are what may be written where
// it looked, in is the block it looked at.
func (d *decoder) diagnose(diags hcl.Diagnostics, names []string, in string) {
	for _, diag := range diags {
		if diag.Severity != hcl.DiagError {
			continue
		}
		at := Position{}
		if diag.Subject != nil {
			at = position(*diag.Subject)
		}
		switch diag.Summary {
		case "Unsupported argument", "Unsupported block type", "Extraneous JSON object property":
			d.unknown(at, d.text(*diag.Subject), names, in)
		case "Attribute redefined", "Duplicate argument":
			_, first, _ := strings.Cut(d.localise(diag.Detail), "already set at ")
			first, _, _ = strings.Cut(first+" ", ". ")
			d.report(at, fmt.Sprintf("key %q is set twice", d.text(*diag.Subject)), fmt.Sprintf("the first is at %s; keep one of them", first))
		case "Error in function call":
			_, why, _ := strings.Cut(d.localise(diag.Detail), "failed: ")
			d.report(at, strings.TrimSuffix(why, "."), "set it where the daemon is started, or write the value itself")
		default:
			first := min(1, len(diag.Summary))
			d.report(at, strings.ToLower(diag.Summary[:first])+diag.Summary[first:], d.localise(diag.Detail))
		}
	}
}

// text is the name at a place of a source, without JSON's quotes.
func (d *decoder) text(r hcl.Range) string {
	src := d.bytes[r.Filename]
	text := string(src[min(r.Start.Byte, len(src)):min(r.End.Byte, len(src))])
	if name, err := strconv.Unquote(text); err == nil {
		return name
	}
	return text
}

// localise writes the parser's ranges, "a.hcl:3,5-9", as positions, and its
// sentences as one line.
func (d *decoder) localise(detail string) string {
	for name := range d.bytes {
		detail = rangeOf(name).ReplaceAllString(detail, "${1}:${2}:${3}")
	}
	return strings.Join(strings.Fields(detail), " ")
}

func (d *decoder) unknown(at Position, name string, names []string, in string) {
	summary := fmt.Sprintf("unknown key %q", name)
	if in != "" {
		summary += " in " + in
	}
	if slices.Contains(names, name) {
		d.report(at, fmt.Sprintf("%q is a block where a key belongs, or a key where a block does", name),
			fmt.Sprintf("a block is written %s { … } and a key %s = …", name, name))
		return
	}
	d.report(at, summary, choose(name, names))
}

// choose says which of the names is meant, or which there are.
func choose(name string, names []string) string {
	best, least := "", 1000
	for _, candidate := range names {
		d := levenshtein.Distance(name, candidate, nil)
		if near := max(2, len(candidate)/3); d <= near && d < len(candidate) && d < least {
			best, least = candidate, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return "this version knows " + strings.Join(quoted, ", ")
}
