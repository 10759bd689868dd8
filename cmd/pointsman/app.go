package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// run is the program without the process: it carries out one command line and
// returns the exit code. Tables go to stdout, messages to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp(stdin, stdout, stderr)
	arranged, err := arrange(app, args)
	if err != nil {
		return exitCode(stderr, err)
	}
	return exitCode(stderr, app.RunContext(ctx, arranged))
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:  "pointsman",
		Usage: "a layer-4 load balancer in XDP, with backends from Consul or a file",
		UsageText: `pointsman COMMAND [FLAGS] [ARGUMENTS]

Examples:
  pointsman check /etc/pointsman/pointsman.hcl
  pointsman run --config /etc/pointsman/pointsman.hcl
  pointsman status
  pointsman backends web`,
		Reader:    stdin,
		Writer:    stdout,
		ErrWriter: stderr,
		Commands: []*cli.Command{
			leaf(runCommand()),
			leaf(checkCommand()),
			leaf(planCommand()),
			leaf(reloadCommand()),
			leaf(statusCommand()),
			leaf(servicesCommand()),
			leaf(backendsCommand()),
			leaf(topCommand()),
			leaf(explainCommand()),
			leaf(flowsCommand()),
			leaf(drainCommand()),
			leaf(undrainCommand()),
			leaf(disableCommand()),
			leaf(enableCommand()),
			leaf(weightCommand()),
			leaf(overridesCommand()),
			leaf(eventsCommand()),
			leaf(dropsCommand()),
			leaf(captureCommand()),
			leaf(doctorCommand()),
			leaf(decapCommand()),
			leaf(detachCommand()),
			leaf(completionCommand()),
			leaf(manCommand()),
			leaf(versionCommand()),
			leaf(completeCommand()),
		},
		HideHelpCommand: true,
		HideVersion:     true,
		// The library must neither print nor exit: exitCode does both.
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return usageError{err, "pointsman"} },
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

// leaf makes a command safe for positionals: without its own "help" command, so
// that a service may be called help, and with usage errors that are ours.
func leaf(c *cli.Command) *cli.Command {
	c.HideHelpCommand = true
	c.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usageError{err, "pointsman " + c.Name}
	}
	return c
}

// positional returns the only positional argument, or fallback if there is none.
func positional(c *cli.Context, fallback string) (string, error) {
	switch c.NArg() {
	case 0:
		return fallback, nil
	case 1:
		return c.Args().First(), nil
	}
	return "", usageError{fmt.Errorf("too many arguments: %q", c.Args().Tail()), "pointsman " + c.Command.Name}
}

// noPositionals refuses arguments to a command that takes none.
func noPositionals(c *cli.Context) error {
	if c.NArg() == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s takes no arguments, got %q", c.Command.Name, c.Args().Slice()), "pointsman " + c.Command.Name}
}

var errOutput = errors.New("-o takes table or json")

// outputFlag is -o, on every command that prints a table.
func outputFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "print `FORMAT`: table or json",
		Action: func(c *cli.Context, format string) error {
			if format != "table" && format != "json" {
				return usageError{errOutput, "pointsman " + c.Command.Name}
			}
			return nil
		},
	}
}

const defaultSocket = "/run/pointsman/pointsman.sock"

func socketFlag() cli.Flag {
	return &cli.StringFlag{Name: "socket", Value: defaultSocket, Usage: "talk to the daemon on the unix socket `PATH`"}
}

const defaultPinDir = "/sys/fs/bpf/pointsman"

func pinDirFlag() cli.Flag {
	return &cli.StringFlag{Name: "pin-dir", Value: defaultPinDir, Usage: "keep programs and maps under `DIR`, on a bpf filesystem"}
}

const defaultConfig = "/etc/pointsman/pointsman.hcl"
