// Report reads the output of `go test -json` on standard input, shows what
// failed and what took its time, and ends with a line `N passed, N failed`.
// With -strict a skipped test counts as failed: a privileged test that did not
// run has not passed. The lines before the last name the tests that have not ended.
// Where REPORT_TALLY names a file, a line with both numbers is added to it, for who
// sums up several reports.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

type report struct {
	out                     io.Writer
	passed, failed, skipped int
	output                  map[string][]string // by package and test, until it is judged
	running                 []string            // keys of output, in the order in which they began
	unended                 []string            // those whose package is over
	blamed                  map[string]bool     // packages with a failed test
}

func main() {
	strict := flag.Bool("strict", false, "count a skipped test as failed")
	flag.Parse()
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	if *strict {
		r.failed += r.skipped
	}
	r.sumUp()
	if path := os.Getenv("REPORT_TALLY"); path != "" {
		if err := r.tally(path); err != nil {
			fmt.Fprintln(os.Stderr, "report:", err)
			os.Exit(2)
		}
	}
	if r.failed > 0 || r.passed == 0 {
		os.Exit(1)
	}
}

func (r *report) sumUp() {
	for _, key := range r.unended {
		fmt.Fprintln(r.out, "did not end:", key)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed\n", r.passed, r.failed)
}

// tally adds to what other reports have written, which may do so at the same time.
func (r *report) tally(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, r.passed, r.failed)
	return errors.Join(err, file.Close())
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: make(map[string][]string), blamed: make(map[string]bool)}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the tests' output: %w", err)
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(r.out, "%s", line)
			continue
		}
		r.take(e)
	}
}

// take judges one event: tests are counted, packages are shown with their time,
// a package that fails without a failing test (it did not build, or died) counts
// as one failure.
func (r *report) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		r.running = append(r.running, key)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass":
		r.passed += r.conclude(e, "ok  ", false)
	case "skip":
		if e.Test != "" {
			r.skipped += r.conclude(e, "SKIP", true)
		}
	case "fail":
		if e.Test == "" {
			r.giveUp(e.Package)
		}
		if e.Test == "" && !r.blamed[e.Package] {
			r.failed++
		}
		r.blamed[e.Package] = true
		r.failed += r.conclude(e, "FAIL", true)
	}
}

// conclude prints what is to be seen of a test or package and returns how many
// tests that was.
func (r *report) conclude(e event, verdict string, show bool) int {
	key := e.Package + " " + e.Test
	output := r.output[key]
	delete(r.output, key)
	r.running = slices.DeleteFunc(r.running, func(other string) bool { return other == key })
	if e.Test == "" {
		fmt.Fprintf(r.out, "%s %s %.1fs\n", verdict, e.Package, e.Elapsed)
	} else if show {
		fmt.Fprintf(r.out, "%s %s %s\n", verdict, e.Package, e.Test)
	}
	if show {
		for _, line := range output {
			fmt.Fprint(r.out, line)
		}
	}
	if e.Test == "" {
		return 0
	}
	return 1
}

// giveUp shows the tests of a package that had begun when it was over: it was killed,
// or out of time. Each has failed.
func (r *report) giveUp(pkg string) {
	for _, key := range slices.Clone(r.running) {
		if of, test, _ := strings.Cut(key, " "); of == pkg {
			r.unended = append(r.unended, key)
			r.blamed[pkg] = true
			r.failed += r.conclude(event{Package: of, Test: test}, "HUNG", true)
		}
	}
}
