package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/VictoriaMetrics/metricsql"
	"gopkg.in/yaml.v3"
)

// query is an expression, and the labels of its result that texts use.
type query struct {
	name, expression string
	uses             []string
}

func readQueries(file string) ([]query, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	switch filepath.Ext(file) {
	case ".yml":
		return rules(text)
	case ".json":
		return dashboard(text)
	}
	return nil, fmt.Errorf("neither rules (.yml) nor a dashboard (.json)")
}

var (
	inAnnotation = regexp.MustCompile(`\$labels\.(\w+)`)
	inLegend     = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	inVariable   = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)
)

func used(template *regexp.Regexp, text string) (labels []string) {
	for _, match := range template.FindAllStringSubmatch(text, -1) {
		labels = append(labels, match[1])
	}
	return labels
}

func rules(text []byte) (all []query, err error) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Record, Expr string
				Annotations         map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			q := query{name: rule.Alert + rule.Record, expression: rule.Expr}
			for _, annotation := range rule.Annotations {
				q.uses = append(q.uses, used(inAnnotation, annotation)...)
			}
			all = append(all, q)
		}
	}
	return all, nil
}

// panel has panels in it where it is a row that is folded.
type panel struct {
	Title   string
	Targets []struct{ Expr, LegendFormat string }
	Panels  []panel
}

func (p panel) queries() (all []query) {
	for _, target := range p.Targets {
		all = append(all, query{p.Title, target.Expr, used(inLegend, target.LegendFormat)})
	}
	for _, inside := range p.Panels {
		all = append(all, inside.queries()...)
	}
	return all
}

func dashboard(text []byte) (all []query, err error) {
	var file struct {
		Panels     []panel
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	for _, p := range file.Panels {
		all = append(all, p.queries()...)
	}
	for _, v := range file.Templating.List {
		if v.Type != "query" {
			continue
		}
		asked := inVariable.FindStringSubmatch(v.Definition)
		if asked == nil {
			return nil, fmt.Errorf("the variable %s is not label_values(…, …)", v.Name)
		}
		all = append(all, query{"variable " + v.Name, asked[1], []string{asked[2]}})
	}
	return all, nil
}

// variable is one of Grafana's within an expression; inRange one that is a duration.
var (
	variable = regexp.MustCompile(`\$\{?\w+\}?`)
	inRange  = regexp.MustCompile(`\[\$\{?\w+\}?\]`)
)

func (q query) problems(known catalogue) []string {
	expression := inRange.ReplaceAllString(q.expression, "[1m]")
	parsed, err := metricsql.Parse(variable.ReplaceAllString(expression, ".*"))
	if err != nil {
		return []string{err.Error()}
	}
	e := examiner{known: known}
	labels := e.labels(parsed)
	for _, label := range q.uses {
		if !slices.Contains(labels, label) {
			e.object("a text uses the label %s, and the result has %v", label, labels)
		}
	}
	return e.problems
}
