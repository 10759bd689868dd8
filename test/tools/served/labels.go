package main

import (
	"fmt"
	"slices"

	"github.com/VictoriaMetrics/metricsql"
)

// examiner walks through an expression and collects what is wrong.
type examiner struct {
	known    catalogue
	problems []string
}

func (e *examiner) object(format string, args ...any) {
	if problem := fmt.Sprintf(format, args...); !slices.Contains(e.problems, problem) {
		e.problems = append(e.problems, problem)
	}
}

// labels are those that the result of an expression has.
func (e *examiner) labels(expression metricsql.Expr) []string {
	switch x := expression.(type) {
	case *metricsql.MetricExpr:
		return e.metric(x).labels
	case *metricsql.RollupExpr:
		return e.labels(x.Expr)
	case *metricsql.FuncExpr:
		return e.function(x)
	case *metricsql.AggrFuncExpr:
		return e.aggregate(x)
	case *metricsql.BinaryOpExpr:
		return e.binary(x)
	}
	return nil // a number, a string
}

// metric examines a selector. One that names no metric, or another, has no labels.
func (e *examiner) metric(x *metricsql.MetricExpr) metric {
	if len(x.LabelFilterss) != 1 || len(x.LabelFilterss[0]) == 0 || x.LabelFilterss[0][0].Label != "__name__" {
		e.object("a selector names no metric: %s", x.AppendString(nil))
		return metric{}
	}
	filters := x.LabelFilterss[0]
	name := filters[0].Value
	m, served := e.known.metrics[name]
	if !served {
		e.object("%s is not served", name)
		return m
	}
	for _, f := range filters[1:] {
		if !slices.Contains(m.labels, f.Label) {
			e.object("%s has no label %s", name, f.Label)
		} else if problem := e.known.valueProblem(name, f.Label, f.Value, f.IsRegexp); problem != "" {
			e.object("%s", problem)
		}
	}
	return m
}

// growing are functions that make sense of counters alone.
var growing = []string{"rate", "irate", "increase"}

func (e *examiner) function(x *metricsql.FuncExpr) (labels []string) {
	for _, argument := range x.Args {
		if found := e.labels(argument); found != nil {
			labels = found
		}
	}
	if slices.Contains(growing, x.Name) {
		e.counted(x.Args[0])
	}
	switch x.Name {
	case "histogram_quantile":
		if !slices.Contains(labels, "le") {
			e.object("histogram_quantile of something without le")
		}
		labels = without(labels, "le")
	case "vector", "scalar", "time":
		labels = nil
	case "absent", "label_replace", "label_join":
		e.object("%s is more than this program understands", x.Name)
	}
	return labels
}

func (e *examiner) counted(argument metricsql.Expr) {
	if over, is := argument.(*metricsql.RollupExpr); is {
		argument = over.Expr
	}
	selector, is := argument.(*metricsql.MetricExpr)
	if !is || !e.metric(selector).counter {
		e.object("a rate of what is no counter: %s", argument.AppendString(nil))
	}
}

func (e *examiner) aggregate(x *metricsql.AggrFuncExpr) []string {
	var inner []string
	for _, argument := range x.Args {
		if found := e.labels(argument); found != nil {
			inner = found
		}
	}
	for _, label := range x.Modifier.Args {
		if !slices.Contains(inner, label) {
			e.object("%s %s %s, and there is %v", x.Name, x.Modifier.Op, label, inner)
		}
	}
	switch {
	case x.Modifier.Op == "by":
		return x.Modifier.Args
	case x.Modifier.Op == "without":
		return without(inner, x.Modifier.Args...)
	case slices.Contains([]string{"topk", "bottomk"}, x.Name):
		return inner
	}
	return nil
}

// binary compares labels by Prometheus's rules: both sides must have those by which
// they are matched, which are all of them unless the expression says otherwise.
func (e *examiner) binary(x *metricsql.BinaryOpExpr) []string {
	left, right := e.labels(x.Left), e.labels(x.Right)
	if left == nil || right == nil || x.Op == "or" {
		return append(slices.Clone(left), without(right, left...)...)
	}
	group, join := x.GroupModifier, x.JoinModifier
	if group.Op == "on" {
		for _, label := range group.Args {
			if !slices.Contains(left, label) || !slices.Contains(right, label) {
				e.object("%s on %s, and the sides have %v and %v", x.Op, label, left, right)
			}
		}
	} else if a, b := without(left, group.Args...), without(right, group.Args...); len(without(a, b...)) > 0 && join.Op == "" || len(without(b, a...)) > 0 {
		e.object("%s never matches: the sides have %v and %v", x.Op, a, b)
	}
	switch {
	case join.Op == "group_left":
		return append(slices.Clone(left), join.Args...)
	case join.Op == "group_right":
		return append(slices.Clone(right), join.Args...)
	case group.Op == "on" && x.Op != "and" && x.Op != "unless":
		return group.Args
	}
	return left
}

func without(labels []string, gone ...string) (rest []string) {
	rest = []string{}
	for _, label := range labels {
		if !slices.Contains(gone, label) {
			rest = append(rest, label)
		}
	}
	return rest
}
