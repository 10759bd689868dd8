package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/systemd"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run the daemon",
		UsageText: `pointsman run [FLAGS]

SIGHUP reads the configuration again, as pointsman reload does; one with a
mistake changes nothing.
SIGTERM ends the daemon and leaves the programs in place: packets go on.

Examples:
  pointsman run
  pointsman run --config ./pointsman.hcl --log-format text --on-exit detach`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: defaultConfig, Usage: "read `FILE|DIR`"},
			&cli.StringFlag{Name: "log-format", Usage: "log as `text|json`; text on a terminal and json elsewhere unless given",
				Action: oneOf("log-format", "text", "json")},
			pinDirFlag(),
			&cli.StringFlag{Name: "socket", Value: defaultSocket, Usage: "answer on the unix socket `PATH`"},
			&cli.StringFlag{Name: "on-exit", Value: "keep", Usage: "`keep|detach` the programs when the daemon ends",
				Action: oneOf("on-exit", "keep", "detach")},
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			if err := checkCapabilities(); err != nil {
				return err
			}
			return runDaemon(c)
		},
	}
}

// oneOf makes a flag accept some words only.
func oneOf(flag string, words ...string) func(*cli.Context, string) error {
	return func(c *cli.Context, given string) error {
		for _, word := range words {
			if given == word {
				return nil
			}
		}
		last := len(words) - 1
		return usageError{fmt.Errorf("--%s takes %s or %s", flag, strings.Join(words[:last], ", "), words[last]), "pointsman " + c.Command.Name}
	}
}

func runDaemon(c *cli.Context) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)

	log := newLog(c.App.ErrWriter, c.String("log-format"))
	err := controlplane.Run(ctx, controlplane.Options{
		ConfigPath: c.String("config"),
		PinDir:     c.String("pin-dir"),
		Socket:     c.String("socket"),
		Version:    buildVersion(),
		Open:       opener(c.String("pin-dir"), log),
		Reload:     hangups,
		Manager:    systemd.FromEnvironment(),
		Log:        log,
	})
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		printMistakes(c.App.ErrWriter, mistakes)
		return codedError{code: exitInvalid}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if c.String("on-exit") == "detach" {
		removed, err := detach(c.String("pin-dir"))
		log.Info("detached", "removed", removed)
		return err
	}
	log.Info("ended, the programs stay in place")
	return nil
}

func opener(pinDir string, log *slog.Logger) func(controlplane.Sizes) (controlplane.DataPlane, error) {
	return func(s controlplane.Sizes) (controlplane.DataPlane, error) {
		plane, err := kernel.Open(kernel.Options{PinDir: pinDir, Secret: s.Secret, Limits: s.Limits, Slots: s.Slots, Flows: s.Flows, Connections: s.Connections, Errors: s.Errors, Log: log})
		if err != nil {
			return nil, fmt.Errorf("opening the data plane: %w", err)
		}
		return plane, nil
	}
}

// newLog writes text for people and JSON for machines.
func newLog(w io.Writer, format string) *slog.Logger {
	if format == "text" || format == "" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
