package controlplane

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestThereIsAdviceForEveryDropOfTheProgramAndMoreInTheREADME(t *testing.T) {
	types, err := os.ReadFile("../bpf/types.h")
	if err != nil {
		t.Fatal(err)
	}
	var counted []string
	for _, match := range regexp.MustCompile(`(?m)^\t(DROP_[A-Z_]+),`).FindAllSubmatch(types, -1) {
		counted = append(counted, string(match[1]))
	}
	slices.Sort(counted)
	counted = slices.DeleteFunc(counted, func(name string) bool { return strangersDrops[name] })
	if advised := slices.Sorted(maps.Keys(dropAdvice)); !slices.Equal(advised, counted) {
		t.Errorf("there is advice for %q, and the program counts %q", advised, counted)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range counted {
		if !regexp.MustCompile(`(?s)\n## What became of a packet\n.*\n\| ` + "`" + name + "`").Match(readme) {
			t.Errorf("the README does not say what %s means", name)
		}
	}
}

func TestSamplesReachBackAMinuteAndNoFurther(t *testing.T) {
	begin := time.Now()
	var s samples
	for i := range 1000 {
		at := begin.Add(time.Duration(i) * auditEvery)
		s = s.with(at, map[string]uint64{"DROP_TOO_BIG": uint64(i)})
		reach := at.Sub(s[0].at)
		if len(s) > 4 || reach > dropsMatter+auditEvery || i > 2 && reach < dropsMatter {
			t.Fatalf("after %d audits there are %d samples that reach back %s", i+1, len(s), reach)
		}
	}
	if got := s.drops(s[len(s)-1].at, map[string]uint64{"DROP_TOO_BIG": 1}); got != nil {
		t.Errorf("counters that went back are no drops, got %q", got)
	}
	if got := fmt.Sprint(samples(nil).drops(begin, map[string]uint64{"DROP_TOO_BIG": 1})); got != "[]" {
		t.Errorf("without a sample there is nothing to compare with, got %s", got)
	}
}
