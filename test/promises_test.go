package test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)

// testNames are those of all tests below a folder of the repository.
func testNames(t *testing.T, folder string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", folder), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, name := range testFunction.FindAllStringSubmatch(read(t, strings.TrimPrefix(path, "../")), -1) {
				names = append(names, name[1])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestEveryTestThatIsSaidToHoldALessonExists(t *testing.T) {
	names := testNames(t, ".")
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(read(t, "docs/lessons.md"), -1) {
		if !slices.Contains(names, name[1]) {
			t.Errorf("no test is called %s", name[1])
		}
	}
}

// A part of a pattern that matches nothing is a test that no longer runs there.
func TestEveryPartOfThePatternsOfTestsInOtherKernelsMatchesSome(t *testing.T) {
	patterns := regexp.MustCompile(`(?m)^(PACKETS|SMOKE) := \^TestPrivileged\((.*)\)$`).FindAllStringSubmatch(read(t, "Makefile"), -1)
	if len(patterns) != 2 {
		t.Fatalf("the Makefile has %d patterns, and not PACKETS and SMOKE", len(patterns))
	}
	names := testNames(t, "dataplane/kernel")
	for _, pattern := range patterns {
		for _, part := range strings.Split(pattern[2], "|") {
			if !slices.ContainsFunc(names, regexp.MustCompile("^TestPrivileged"+part).MatchString) {
				t.Errorf("%s: no test is called TestPrivileged%s…", pattern[1], part)
			}
		}
	}
}

func TestTheREADMENamesTheKernelsThatChangesAreTriedOn(t *testing.T) {
	kernels := regexp.MustCompile(`(?m)^KERNELS \?= (.+)$`).FindStringSubmatch(read(t, "Makefile"))
	if kernels == nil {
		t.Fatal("the Makefile names none")
	}
	if !strings.Contains(read(t, ".ci/run"), "\nmake smoke-kernels\n") {
		t.Error(".ci/run does not load the programs in them")
	}
	_, requirements, _ := strings.Cut(read(t, "README.md"), "\n## Requirements\n")
	requirements, _, _ = strings.Cut(requirements, "\n## ")
	for _, kernel := range strings.Fields(kernels[1]) {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(kernel) + `\b`).MatchString(requirements) {
			t.Errorf("the README does not say that Linux %s was seen to work", kernel)
		}
	}
}
