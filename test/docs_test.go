package test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/config"
)

// documents are what newcomers type from.
var documents = []string{"README.md", "CONTRIBUTING.md", "docs/lab.md", "docs/configuration.md", "docs/metrics.md", "docs/commands.md", "docs/api.md",
	"docs/doctor.md", "docs/walk.md", "docs/alerts.md", "docs/vagrant.md", "docs/packages.md"}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	fence  = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	inline = regexp.MustCompile("`([^`\n]+)`")
)

// blocks are the blocks of code in a language, "" for those without one.
func blocks(text, language string) (all []string) {
	for _, match := range fence.FindAllStringSubmatch(text, -1) {
		if match[1] == language {
			all = append(all, match[2])
		}
	}
	return all
}

// commands are the lines to type: those of sh blocks, those after a prompt, and
// code within sentences. Comments are cut off.
func commands(text string) (lines []string) {
	for _, block := range blocks(text, "sh") {
		lines = append(lines, strings.Split(block, "\n")...)
	}
	for _, block := range blocks(text, "") {
		for line := range strings.Lines(block) {
			if typed, prompt := strings.CutPrefix(line, "# "); prompt {
				lines = append(lines, typed)
			}
		}
	}
	for _, match := range inline.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		lines = append(lines, match[1])
	}
	for i, line := range lines {
		line, _, _ = strings.Cut(line, " #")
		lines[i] = strings.TrimSpace(line)
	}
	return lines
}

func TestEveryMakeTargetThatTheDocumentsNameExists(t *testing.T) {
	makefile := read(t, "Makefile")
	named := regexp.MustCompile(`^make ([a-z][a-z-]*)`)
	for _, document := range documents {
		for _, line := range commands(read(t, document)) {
			match := named.FindStringSubmatch(line)
			if match != nil && !strings.Contains(makefile, "\n"+match[1]+":") {
				t.Errorf("%s names %q, and the Makefile has no such target", document, match[0])
			}
		}
	}
}

// The command's own help is held to the command by a test beside it.
func TestEveryCommandAndFlagThatTheDocumentsNameExists(t *testing.T) {
	call := regexp.MustCompile(`(?:^|/|&& )pointsman ([a-z]+)([^&|]*)`)
	flag := regexp.MustCompile(`(?:^| )(--?[a-z][a-z-]*)`)
	found := 0
	for _, document := range documents {
		for _, line := range commands(read(t, document)) {
			for _, match := range call.FindAllStringSubmatch(line, -1) {
				help, err := os.ReadFile(filepath.Join("..", "cmd/pointsman/testdata", "help-"+match[1]+".txt"))
				if err != nil {
					t.Errorf("%s names %q, and there is no such command", document, line)
					continue
				}
				found++
				_, options, _ := strings.Cut(string(help), "OPTIONS:")
				for _, given := range flag.FindAllStringSubmatch(match[2], -1) {
					if !regexp.MustCompile(`(?m)(^ +|, )` + given[1] + `[ ,]`).MatchString(options) {
						t.Errorf("%s names %q, and %s has no flag %s", document, line, match[1], given[1])
					}
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands were found: does the test still understand the documents?", found)
	}
}

func TestTheREADMESaysWhatToDoAboutEveryOutcome(t *testing.T) {
	_, enum, _ := strings.Cut(read(t, "bpf/types.h"), "enum outcome {")
	enum, _, _ = strings.Cut(enum, "};")
	comment := regexp.MustCompile(`(?s)/\*.*?\*/`)
	names := regexp.MustCompile(`[A-Z][A-Z0-9_]+`).FindAllString(comment.ReplaceAllString(enum, ""), -1)

	_, section, _ := strings.Cut(read(t, "README.md"), "\n## What became of a packet\n")
	section, _, _ = strings.Cut(section, "What makes a backend other than")
	var described []string
	for _, match := range regexp.MustCompile("(?m)^\\| `([A-Z_0-9]+)` \\|").FindAllStringSubmatch(section, -1) {
		described = append(described, match[1])
	}
	if len(names) == 0 || !slices.Equal(names, described) {
		t.Errorf("the README's table has %q,\nthe program has %q", described, names)
	}
}

func TestTheREADMESaysWhatToDoAboutEveryReasonToHoldAView(t *testing.T) {
	constants := regexp.MustCompile(`(?m)^\t\w+ +Reason = ("[^"]+")`).FindAllStringSubmatch(read(t, "controlplane/discovery/consul/fault.go"), -1)
	_, section, _ := strings.Cut(read(t, "README.md"), "\n## When Consul fails\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if len(constants) == 0 {
		t.Error("there is none")
	}
	for _, constant := range constants {
		reason := strings.Trim(constant[1], `"`)
		if row := "\n| `" + reason + "` |"; !strings.Contains(section, row) && reason != "no instance" { // which holds nothing
			t.Errorf("the README's table lacks %q", reason)
		}
	}
}

func TestTheExamplesOfTheREADMEAreConfigurations(t *testing.T) {
	examples := blocks(read(t, "README.md"), "hcl")
	if len(examples) == 0 {
		t.Error("there is none")
	}
	for _, example := range examples {
		if _, err := config.Parse("README.md", []byte(example)); err != nil {
			t.Errorf("%v\nin\n%s", err, example)
		}
	}
}

func TestLinksBetweenTheDocumentsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^):]+)?\)`)
	for _, document := range append(documents, "ARCHITECTURE.md") {
		for _, match := range link.FindAllStringSubmatch(read(t, document), -1) {
			path := document
			if match[1] != "" {
				path = filepath.Join(filepath.Dir(document), match[1])
			}
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s links to %s: %v", document, match[0], err)
			} else if match[2] != "" && !slices.Contains(anchors(read(t, path)), match[2]) {
				t.Errorf("%s links to %s, and there is no such heading", document, match[0])
			}
		}
	}
}

// anchors are the names of headings, as forges make them.
func anchors(text string) (all []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		name := regexp.MustCompile(`[^a-z0-9_ -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, "#"+strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// A pattern of go test that matches nothing passes without having tested.
func TestEveryTestThatCONTRIBUTINGRunsExists(t *testing.T) {
	call := regexp.MustCompile(`^go test (\./\S+)(.*)`)
	pattern := regexp.MustCompile(`-(?:run|fuzz|bench) '?([A-Z][^/' ]*)`)
	for _, line := range commands(read(t, "CONTRIBUTING.md")) {
		match := call.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		files, err := filepath.Glob(filepath.Join("..", match[1], "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Errorf("%q: there are no tests", line)
			continue
		}
		var names []string
		for _, file := range files {
			for _, name := range testFunction.FindAllStringSubmatch(read(t, strings.TrimPrefix(file, "../")), -1) {
				names = append(names, name[1])
			}
		}
		for _, wanted := range pattern.FindAllStringSubmatch(match[2], -1) {
			if !slices.ContainsFunc(names, regexp.MustCompile(wanted[1]).MatchString) {
				t.Errorf("%q: no test is called %s", line, wanted[1])
			}
		}
	}
}
