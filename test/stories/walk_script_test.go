package stories

import (
	"regexp"
	"strings"
	"testing"
)

// step is one thing that a document has its reader do: type a line on a host and see
// something, or write a file.
type step struct {
	line    int // of the document
	host    string
	command string
	want    []string
	file    string
	content string
}

var (
	fenceOf  = regexp.MustCompile("^```([a-z]*)$")
	promptOf = regexp.MustCompile(`^([a-z][a-z0-9-]*)# (.*)$`)
	fileOf   = regexp.MustCompile("`(/[^`]+)` on ([a-z][a-z0-9-]*):$")
)

// script are the steps of a document. Blocks without a language that begin with the
// prompt of a host are to be typed, each line below is what is to be seen, and "> "
// goes on with a command. Blocks in a language after "`PATH` on HOST:" are files.
func script(text string) (steps []step) {
	inside, language, before := false, "", ""
	for i, line := range strings.Split(text, "\n") {
		fence := fenceOf.FindStringSubmatch(line)
		if !inside {
			if fence == nil {
				if line != "" {
					before = line
				}
				continue
			}
			inside, language = true, fence[1]
			if file := fileOf.FindStringSubmatch(before); file != nil && language != "" {
				steps = append(steps, step{line: i + 1, host: file[2], file: file[1]})
			}
			continue
		}
		if line == "```" {
			inside, before = false, ""
			continue
		}
		var last *step
		if len(steps) > 0 {
			last = &steps[len(steps)-1]
		}
		prompt := promptOf.FindStringSubmatch(line)
		switch {
		case language != "":
			if last != nil && last.file != "" && fileOf.MatchString(before) {
				last.content += line + "\n"
			}
		case prompt != nil:
			steps = append(steps, step{line: i + 1, host: prompt[1], command: prompt[2]})
			before = "typed"
		case before == "typed" && strings.HasPrefix(line, "> "):
			last.command += "\n" + line[2:]
		case before == "typed":
			last.want = append(last.want, line)
		}
	}
	return steps
}

// shows tells whether an output is what a document says. How far words are apart does
// not matter; "…" stands for anything within a line, and alone for any lines.
func shows(want []string, output string) bool {
	pattern := "^"
	for _, line := range want {
		if strings.TrimSpace(line) == "…" {
			pattern += "(.*\n)*"
			continue
		}
		fields := strings.Fields(line)
		for i, field := range fields {
			fields[i] = strings.ReplaceAll(regexp.QuoteMeta(field), "…", ".*")
		}
		pattern += "[ \t]*" + strings.Join(fields, "[ \t]+") + "[ \t]*\n"
	}
	if output != "" && !strings.HasSuffix(output, "\n") {
		output += "\n"
	}
	return regexp.MustCompile(pattern + "$").MatchString(output)
}

func TestADocumentIsReadAsItsReaderDoes(t *testing.T) {
	steps := script("The file\n`/etc/x.hcl` on balancer:\n\n```hcl\na = 1\n```\n\n```\n  picture\n```\n\n```sh\nnot typed\n```\n\n" +
		"```\nbalancer# one\nseen\n…\nclient# two \\\n> and more\n```\n")
	want := []step{
		{line: 4, host: "balancer", file: "/etc/x.hcl", content: "a = 1\n"},
		{line: 17, host: "balancer", command: "one", want: []string{"seen", "…"}},
		{line: 20, host: "client", command: "two \\\nand more"},
	}
	if len(steps) != len(want) {
		t.Fatalf("the steps are %+v", steps)
	}
	for i := range want {
		if got := steps[i]; got.line != want[i].line || got.host != want[i].host || got.command != want[i].command || got.file != want[i].file ||
			got.content != want[i].content || strings.Join(got.want, "|") != strings.Join(want[i].want, "|") {
			t.Errorf("step %d is %+v, want %+v", i, got, want[i])
		}
	}
}

func TestAnOutputIsHeldAgainstWhatADocumentSays(t *testing.T) {
	for _, row := range []struct {
		want, output string
		is           bool
	}{
		{"", "", true},
		{"", "something\n", false},
		{"a b", "a    b\n", true},
		{"a b", "a b", true},
		{"a b", "ab\n", false},
		{"a b", "a b\nc\n", false},
		{"a b\nc", "a b\n", false},
		{"up …s ago", "up 3s ago\n", true},
		{"pid …, up", "pid 4 2, up\n", true},
		{"a.c", "abc\n", false},
		{"a\n…", "a\n", true},
		{"a\n…\nz", "a\nb\nc\nz\n", true},
		{"a\n…\nz", "a\nb\nc\n", false},
	} {
		var want []string
		if row.want != "" {
			want = strings.Split(row.want, "\n")
		}
		if shows(want, row.output) != row.is {
			t.Errorf("%q is what %q says: %v", row.output, row.want, !row.is)
		}
	}
}
