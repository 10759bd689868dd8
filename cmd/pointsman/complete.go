package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

// completeCommand is what the scripts of 'pointsman completion' ask. So all shells
// complete alike, from the command tree itself.
func completeCommand() *cli.Command {
	return &cli.Command{
		Name:      "__complete",
		Hidden:    true,
		Usage:     "list what the last word of a command line may become",
		ArgsUsage: "-- [WORD]...",
		UsageText: "pointsman __complete -- [WORD]...\n\nFor the scripts that completion prints.\n\nExample:\n  pointsman __complete -- backends --wi",
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				words = []string{""}
			}
			for _, found := range complete(c.Context, newApp(nil, nil, nil), words) {
				fmt.Fprintf(c.App.Writer, "%s\t%s\n", found.word, found.about)
			}
			return nil
		},
	}
}

// candidate is what a word may become.
type candidate struct{ word, about string }

// complete lists what the last of the words may become.
func complete(ctx context.Context, app *cli.App, words []string) []candidate {
	line := commandLine{flags: app.Flags, commands: app.Commands, name: app.Name}
	last := words[len(words)-1]
	given := map[string]string{} // flags, by their first name
	var positionals []string
	var open cli.Flag // that waits for its value
	var command *cli.Command
	for _, word := range words[:len(words)-1] {
		name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case open != nil:
			given[open.Names()[0]], open = word, nil
		case strings.HasPrefix(word, "-"):
			if flag := line.flag(name); flag != nil && takesValue(flag) && !hasValue {
				open = flag
			} else if flag != nil {
				given[flag.Names()[0]] = value
			}
		case command == nil:
			if command = line.command(word); command == nil {
				return nil
			}
			line = commandLine{flags: command.Flags, name: command.Name}
		default:
			positionals = append(positionals, word)
		}
	}
	var all []candidate
	switch {
	case open != nil:
		all = flagValues(open.Names()[0], last)
	case strings.HasPrefix(last, "-"):
		all = line.flagCandidates()
	case command == nil:
		all = line.commandCandidates()
	default:
		all = positionalValues(ctx, command, given["socket"], positionals, last)
	}
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, last) })
}

func (l commandLine) commandCandidates() (all []candidate) {
	for _, c := range l.commands {
		if !c.Hidden {
			all = append(all, candidate{c.Name, c.Usage})
		}
	}
	return all
}

func (l commandLine) flagCandidates() (all []candidate) {
	for _, f := range l.flags {
		usage := ""
		if documented, ok := f.(cli.DocGenerationFlag); ok {
			usage = strings.ReplaceAll(documented.GetUsage(), "`", "")
		}
		all = append(all, candidate{dashed(f.Names()[0]), usage})
	}
	return append(all, candidate{"--help", "show help"})
}

// flagValues are the words that a flag knows, or the files that it may be about.
func flagValues(name, last string) []candidate {
	switch name {
	case "output":
		return named("table", "json")
	case "log-format":
		return named("text", "json")
	case "on-exit":
		return named("keep", "detach")
	case "sort":
		return named(sortNames...)
	case "config", "socket", "write", "pin-dir", "state-dir":
		return files(last)
	}
	return nil
}

func named(words ...string) (all []candidate) {
	for _, word := range words {
		all = append(all, candidate{word: word})
	}
	return all
}

func files(prefix string) (all []candidate) {
	found, err := filepath.Glob(prefix + "*")
	if err != nil {
		return nil // a pattern that is none
	}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path += "/"
		}
		all = append(all, candidate{word: path})
	}
	return all
}

// positionalValues are what a command takes at the next place, by its ArgsUsage.
func positionalValues(ctx context.Context, command *cli.Command, socket string, before []string, last string) []candidate {
	places := strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(command.ArgsUsage))
	if len(before) >= len(places) {
		return nil
	}
	switch place := places[len(before)]; place {
	case "SERVICE", "ADDRESS":
		return backendsOrServices(ctx, socket, before)
	case "FILE|DIR", "FILE":
		return files(last)
	default:
		if words := strings.Split(place, "|"); len(words) > 1 {
			return named(words...)
		}
	}
	return nil
}

// mostPatience is how long a shell may be kept waiting for a daemon.
const mostPatience = time.Second

// backendsOrServices asks the daemon: for services, or for the backends of one.
func backendsOrServices(ctx context.Context, socket string, before []string) (all []candidate) {
	ctx, cancel := context.WithTimeout(ctx, mostPatience)
	defer cancel()
	if socket == "" {
		socket = defaultSocket
	}
	client := api.NewClient(socket)
	if len(before) == 0 {
		list, _ := client.Services(ctx) // without a daemon there is nothing to offer
		for _, s := range list.Services {
			all = append(all, candidate{s.Name, s.State})
		}
		return all
	}
	list, _ := client.Backends(ctx, before[0])
	for _, s := range list.Services {
		for _, b := range s.Backends {
			all = append(all, candidate{b.Address, b.State})
		}
	}
	return all
}
