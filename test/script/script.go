// Package script reads documents as those who type from them do.
package script

import (
	"regexp"
	"strings"
)

// Step is one thing that a document has its reader do: type a line on a host and see
// something, or write a file.
type Step struct {
	Line    int    // of the document
	Host    string // empty is the reader's own machine
	Command string
	Want    []string // the lines to see, as Shows understands them
	File    string   // to be written instead of typing
	Content string
}

var (
	fenceOf  = regexp.MustCompile("^```([a-z]*)$")
	promptOf = regexp.MustCompile(`^([a-z][a-z0-9-]*)# (.*)$`)
	fileOf   = regexp.MustCompile("`(/[^`]+)` on ([a-z][a-z0-9-]*):$")
)

// Steps are those of a document. Blocks without a language that begin with the
// prompt of a host are to be typed, each line below is what is to be seen, and "> "
// goes on with a command. Blocks in a language after "`PATH` on HOST:" are files. Other
// blocks of sh are typed on the reader's own machine, and show nothing of interest; what
// is behind " #" there is for readers alone.
func Steps(text string) (steps []Step) {
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
				steps = append(steps, Step{Line: i + 1, Host: file[2], File: file[1]})
			}
			continue
		}
		if line == "```" {
			inside, before = false, ""
			continue
		}
		var last *Step
		if len(steps) > 0 {
			last = &steps[len(steps)-1]
		}
		prompt := promptOf.FindStringSubmatch(line)
		switch {
		case language != "":
			if last != nil && last.File != "" && fileOf.MatchString(before) {
				last.Content += line + "\n"
			} else if command, _, _ := strings.Cut(line, " #"); language == "sh" && command != "" {
				steps = append(steps, Step{Line: i + 1, Command: strings.TrimSpace(command)})
			}
		case prompt != nil:
			steps = append(steps, Step{Line: i + 1, Host: prompt[1], Command: prompt[2]})
			before = "typed"
		case before == "typed" && strings.HasPrefix(line, "> "):
			last.Command += "\n" + line[2:]
		case before == "typed":
			last.Want = append(last.Want, line)
		}
	}
	return steps
}

// Shows tells whether an output is what a document says. How far words are apart does
// not matter; "…" stands for anything within a line, and alone for any lines.
func Shows(want []string, output string) bool {
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
