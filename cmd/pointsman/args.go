package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/urfave/cli/v2"
)

// arrange rewrites a command line so that flags come before positionals.
// urfave/cli v2 stops at the first positional and silently takes later flags
// for positionals, too: `backends web -o json` would print a table. It also
// finds unknown commands and flags, which the library answers in ways of its
// own. The first argument is the program's name.
func arrange(root *cli.App, args []string) ([]string, error) {
	line := commandLine{flags: root.Flags, commands: root.Commands, name: root.Name}
	arranged := args[:1:1]
	rest := args[1:]
	for {
		command, flags, positionals, after, err := line.split(rest)
		if err != nil {
			return nil, err
		}
		arranged = append(arranged, flags...)
		if command == nil {
			if len(positionals) > 0 {
				arranged = append(append(arranged, "--"), positionals...)
			}
			return arranged, nil
		}
		arranged = append(arranged, command.Name)
		line = commandLine{flags: command.Flags, commands: command.Subcommands, name: line.name + " " + command.Name}
		rest = after
	}
}

// commandLine is what one level of the command tree understands.
type commandLine struct {
	flags    []cli.Flag
	commands []*cli.Command
	name     string
}

// split takes the arguments of one level apart: its flags, then either the
// command that the first positional names and what follows it, or positionals.
func (l commandLine) split(args []string) (command *cli.Command, flags, positionals, after []string, err error) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return nil, flags, append(positionals, args[i+1:]...), nil, nil
		case len(arg) < 2 || arg[0] != '-':
			if len(l.commands) == 0 {
				positionals = append(positionals, arg)
				continue
			}
			if command = l.command(arg); command == nil {
				return nil, nil, nil, nil, l.unknown("command", arg, l.commandNames())
			}
			return command, flags, nil, args[i+1:], nil
		}
		flags = append(flags, arg)
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		flag := l.flag(name)
		switch {
		case flag == nil && !isHelp(name):
			return nil, nil, nil, nil, l.unknown("flag", dashed(name), l.flagNames())
		case flag == nil || hasValue || !takesValue(flag):
		case i+1 == len(args):
			return nil, nil, nil, nil, usageError{fmt.Errorf("flag %s needs a value", dashed(name)), l.name}
		default:
			i++
			flags = append(flags, args[i])
		}
	}
	return nil, flags, positionals, nil, nil
}

func (l commandLine) command(name string) *cli.Command {
	for _, c := range l.commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

func (l commandLine) flag(name string) cli.Flag {
	for _, f := range l.flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func (l commandLine) commandNames() (names []string) {
	for _, c := range l.commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

func (l commandLine) flagNames() (names []string) {
	for _, f := range l.flags {
		for _, name := range f.Names() {
			names = append(names, dashed(name))
		}
	}
	return append(names, "--help")
}

// unknown says what is not known, and what may have been meant: the nearest
// name, where it is near.
func (l commandLine) unknown(kind, given string, known []string) error {
	text := fmt.Sprintf("unknown %s %q", kind, given)
	best, distance := "", 3
	for _, name := range known {
		if d := levenshtein.Distance(given, name, nil); d < distance && d < len(name)-1 {
			best, distance = name, d
		}
	}
	if best != "" {
		text += fmt.Sprintf(", did you mean %q?", best)
	}
	return usageError{fmt.Errorf("%s", text), l.name}
}

func takesValue(flag cli.Flag) bool {
	documented, ok := flag.(cli.DocGenerationFlag)
	return ok && documented.TakesValue()
}

func isHelp(name string) bool { return name == "help" || name == "h" }

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
