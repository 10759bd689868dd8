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
func TestEveryPartOfThePatternOfTestsInOtherKernelsMatchesSome(t *testing.T) {
	pattern := regexp.MustCompile(`(?m)^PACKETS := \^TestPrivileged\((.*)\)$`).FindStringSubmatch(read(t, "Makefile"))
	if pattern == nil {
		t.Fatal("the Makefile has no PACKETS")
	}
	names := testNames(t, "dataplane/kernel")
	for _, part := range strings.Split(pattern[1], "|") {
		if !slices.ContainsFunc(names, regexp.MustCompile("^TestPrivileged"+part).MatchString) {
			t.Errorf("no test is called TestPrivileged%s…", part)
		}
	}
}
