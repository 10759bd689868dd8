package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// metric is one that can be asked for.
type metric struct {
	labels  []string
	counter bool // it only grows, so that it has a rate
}

// catalogue is what there is to ask for.
type catalogue struct {
	metrics map[string]metric
	values  map[string][]string // by metric:label, where all are known
}

// added are the labels that Prometheus puts on whatever it scrapes.
var added = []string{"instance", "job"}

var row = regexp.MustCompile("(?m)^\\| `(pointsman_[a-z_]+)` \\| ([^|]*) \\| ([a-z]+) \\|")

// readCatalogue reads the table of a document, which a test holds to what the program
// serves. Prometheus itself adds up.
func readCatalogue(document string, values map[string][]string) (catalogue, error) {
	c := catalogue{map[string]metric{"up": {labels: added}}, values}
	text, err := os.ReadFile(document)
	if err != nil {
		return c, err
	}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		name, labels := match[1], slices.Clone(added)
		for _, label := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(match[2], -1) {
			labels = append(labels, label[1])
		}
		if match[3] != "histogram" {
			c.metrics[name] = metric{labels, match[3] == "counter"}
			continue
		}
		c.metrics[name+"_bucket"] = metric{append(slices.Clone(labels), "le"), true}
		c.metrics[name+"_sum"] = metric{labels, true}
		c.metrics[name+"_count"] = metric{labels, true}
	}
	if len(c.metrics) == 1 {
		return c, fmt.Errorf("%s has no table of metrics", document)
	}
	return c, nil
}

// valueProblem says what is wrong with a value that a label is compared with.
func (c catalogue) valueProblem(metric, label, value string, isRegexp bool) string {
	known := c.values[metric+":"+label]
	if known == nil {
		return ""
	}
	alternatives := []string{value}
	if isRegexp {
		alternatives = strings.Split(value, "|")
	}
	for _, alternative := range alternatives {
		pattern := "^" + regexp.QuoteMeta(alternative) + "$"
		if isRegexp {
			pattern = "^(?:" + alternative + ")$"
		}
		matches, err := regexp.Compile(pattern)
		if err != nil || !slices.ContainsFunc(known, matches.MatchString) {
			return fmt.Sprintf("%s of %s is never %q", label, metric, alternative)
		}
	}
	return ""
}
