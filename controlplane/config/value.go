package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// wrong is what is wrong with a value, and what to write instead.
type wrong struct {
	summary, detail string
}

// maxTemplateBytes bounds a JSON string with env() in it; see maxDepth.
const maxTemplateBytes = 4096

// set reads a key into where, if the file gives it, as parse understands it.
func set[T any](b *block, key string, where *T, parse func(cty.Value) (T, *wrong)) {
	attr, given := b.attrs[key]
	if !given {
		return
	}
	read(b, key, attr.Expr, where, parse)
}

// setList reads a list into where and gives the places of what it took. Wrong
// elements and repeated ones are reported and left out.
func setList[T comparable](b *block, key string, where *[]T, parse func(cty.Value) (T, *wrong)) []Position {
	attr, given := b.attrs[key]
	if !given {
		return nil
	}
	elements, diags := hcl.ExprList(attr.Expr)
	if diags.HasErrors() {
		b.d.report(b.At(key), fmt.Sprintf("%q%s is not a list", key, b.where()), fmt.Sprintf("write %s = [ … ]", key))
		return nil
	}
	list, places := []T{}, []Position{}
	first := map[T]Position{}
	for _, expr := range elements {
		var element T
		if !read(b, key, expr, &element, parse) {
			continue
		}
		at := position(expr.Range())
		if earlier, twice := first[element]; twice {
			b.d.report(at, fmt.Sprintf("%q%s lists the same twice", key, b.where()), fmt.Sprintf("the first is at %s", earlier))
			continue
		}
		first[element] = at
		list, places = append(list, element), append(places, at)
	}
	*where = list
	return places
}

// read evaluates one expression and reports what is wrong with it.
func read[T any](b *block, key string, expr hcl.Expression, where *T, parse func(cty.Value) (T, *wrong)) bool {
	value, ok := b.d.evaluate(expr)
	if !ok {
		return false
	}
	parsed, mistake := parse(value)
	if mistake != nil {
		b.d.report(position(expr.Range()), fmt.Sprintf("%q%s: %s", key, b.where(), mistake.summary), mistake.detail)
		return false
	}
	*where = parsed
	return true
}

// evaluate gives an expression's value. The language is literals and env():
// nothing else is needed here, and the rest of HCL's lets a few bytes ask for
// gigabytes.
func (d *decoder) evaluate(expr hcl.Expression) (cty.Value, bool) {
	if _, native := expr.(hclsyntax.Expression); !native {
		literal, diags := expr.Value(nil) // nil: JSON's strings are not templates yet
		d.diagnose(diags, nil, "")
		if diags.HasErrors() {
			return cty.NilVal, false
		}
		template := literal.Type() == cty.String && !literal.IsNull() &&
			(strings.Contains(literal.AsString(), "${") || strings.Contains(literal.AsString(), "%{"))
		if !template {
			return literal, d.small(expr, literal)
		}
		parsed, ok := d.template(expr, literal.AsString())
		if !ok {
			return cty.NilVal, false
		}
		expr = parsed
	}
	if at, mistake := plain(expr); mistake != nil {
		d.report(position(at), mistake.summary, mistake.detail)
		return cty.NilVal, false
	}
	value, diags := expr.Value(evaluation)
	d.diagnose(diags, nil, "")
	return value, !diags.HasErrors() && d.small(expr, value)
}

// template parses a JSON string as the native syntax would parse it in quotes.
func (d *decoder) template(expr hcl.Expression, text string) (hclsyntax.Expression, bool) {
	start := expr.Range().Start
	if len(text) > maxTemplateBytes {
		d.report(position(expr.Range()), fmt.Sprintf("a string with ${…} may have %d bytes at most", maxTemplateBytes), "")
		return nil, false
	}
	start.Byte, start.Column = start.Byte+1, start.Column+1
	parsed, diags := hclsyntax.ParseTemplate([]byte(text), expr.Range().Filename, start)
	d.diagnose(diags, nil, "")
	return parsed, !diags.HasErrors()
}

// small refuses numbers whose digits would fill the memory: 1e999999999.
func (d *decoder) small(expr hcl.Expression, value cty.Value) bool {
	if value.Type() != cty.Number || value.IsNull() {
		return true
	}
	exponent := value.AsBigFloat().MantExp(nil)
	if exponent > 64 || exponent < -64 || value.AsBigFloat().IsInf() {
		d.report(position(expr.Range()), "no key takes a number of this size", "")
		return false
	}
	return true
}

// plain finds what is neither a literal nor env().
func plain(expr hcl.Expression) (hcl.Range, *wrong) {
	switch e := expr.(type) {
	case *hclsyntax.LiteralValueExpr, *hclsyntax.TupleConsExpr:
		return hcl.Range{}, nil
	case *hclsyntax.ParenthesesExpr:
		return plain(e.Expression)
	case *hclsyntax.TemplateWrapExpr:
		return plain(e.Wrapped)
	case *hclsyntax.UnaryOpExpr:
		if _, literal := e.Val.(*hclsyntax.LiteralValueExpr); literal && e.Op == hclsyntax.OpNegate {
			return hcl.Range{}, nil
		}
	case *hclsyntax.TemplateExpr:
		for _, part := range e.Parts {
			if at, mistake := textual(part); mistake != nil {
				return at, mistake
			}
		}
		return hcl.Range{}, nil
	case *hclsyntax.FunctionCallExpr:
		if e.Name != "env" {
			return e.NameRange, &wrong{fmt.Sprintf("there is no function %q", e.Name), `the only one is env("NAME")`}
		}
		for _, arg := range e.Args {
			if at, mistake := textual(arg); mistake != nil {
				return at, mistake
			}
		}
		return hcl.Range{}, nil
	case *hclsyntax.ScopeTraversalExpr:
		name := e.Traversal.RootName()
		return e.Range(), &wrong{fmt.Sprintf("%q is not a value: there are no variables", name), "a text stands in quotes"}
	}
	return expr.Range(), &wrong{"this is neither a literal nor env()", `write the value itself, or env("NAME")`}
}

// textual is plain for what becomes part of a text. Numbers are refused there,
// because small cannot see them in time.
func textual(expr hcl.Expression) (hcl.Range, *wrong) {
	if literal, ok := expr.(*hclsyntax.LiteralValueExpr); ok && literal.Val.Type() != cty.String {
		return expr.Range(), &wrong{"only texts and env() can be put into a text", ""}
	}
	switch expr.(type) {
	case *hclsyntax.UnaryOpExpr, *hclsyntax.ParenthesesExpr, *hclsyntax.TemplateWrapExpr:
		return expr.Range(), &wrong{"only texts and env() can be put into a text", ""}
	}
	return plain(expr)
}

// evaluation is all that an expression can refer to.
var evaluation = &hcl.EvalContext{Functions: map[string]function.Function{
	"env": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "name", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := args[0].AsString()
			value, there := os.LookupEnv(name)
			if !there {
				return cty.NilVal, fmt.Errorf("the environment has no variable %s", name)
			}
			return cty.StringVal(value), nil
		},
	}),
}}

// as converts a value to a type, as far as the two are ways to write the same.
func as(value cty.Value, want cty.Type, name string) (cty.Value, *wrong) {
	if value.IsNull() {
		return cty.NilVal, &wrong{"null is not a value", "leave the key out to get its default"}
	}
	converted, err := convert.Convert(value, want)
	if err != nil || !value.Type().IsPrimitiveType() || !converted.IsKnown() || converted.IsNull() {
		return cty.NilVal, &wrong{"this is not " + name, ""}
	}
	return converted, nil
}

// rangeOf finds the parser's ranges within one file: a.hcl:3,5-9.
func rangeOf(name string) *regexp.Regexp {
	return regexp.MustCompile("(" + regexp.QuoteMeta(name) + `):(\d+),(\d+)-(?:\d+,)?\d+`)
}
