// Served says what is wrong with alert rules and dashboards: expressions that name a
// metric, a label or a label's value that the program does not serve, that take the
// rate of what is no counter, texts that use labels which the result has not got, and
// what is not as Grafana's schema of dashboards has it.
//
//	served -catalogue docs/metrics.md -values 'pointsman_packets_total:verdict=pass,drop' FILE...
//
// A FILE that ends in .yml has rules of Prometheus, one in .json is a dashboard of
// Grafana. A problem is a line; where there are some, it exits with 1.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	document := flag.String("catalogue", "docs/metrics.md", "the `FILE` whose table has all metrics")
	values := map[string][]string{}
	flag.Func("values", "all values of a label, as `METRIC:LABEL=VALUE,VALUE` (repeatable)", func(text string) error {
		of, list, given := strings.Cut(text, "=")
		if !given {
			return fmt.Errorf("%q is not METRIC:LABEL=VALUES", text)
		}
		values[of] = strings.Split(list, ",")
		return nil
	})
	flag.Parse()
	problems, err := examine(*document, values, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "served:", err)
		os.Exit(2)
	}
	for _, problem := range problems {
		fmt.Println(problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

func examine(document string, values map[string][]string, files []string) (problems []string, err error) {
	known, err := readCatalogue(document, values)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".json") {
			found, err := misshapen(file)
			if err != nil {
				return nil, err
			}
			for _, problem := range found {
				problems = append(problems, fmt.Sprintf("%s: %s", file, problem))
			}
		}
		all, err := readQueries(file)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("%s asks nothing", file)
		}
		for _, q := range all {
			for _, problem := range q.problems(known) {
				problems = append(problems, fmt.Sprintf("%s: %s: %s", file, q.name, problem))
			}
		}
	}
	return problems, nil
}
