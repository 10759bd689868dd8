// Command earlier is pointsman run with the data plane of an earlier build: another
// program and other maps. Tests upgrade from it.
package main

import (
	"context"
	"errors"
	"flag"
	"iter"
	"log/slog"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane"
	"github.com/pointsman/pointsman/dataplane"
	"github.com/pointsman/pointsman/dataplane/fake"
	"github.com/pointsman/pointsman/dataplane/kernel/earlier"
)

// plane lacks what no earlier build had.
type plane struct{ *earlier.DataPlane }

func (plane) HoldFragments() (dataplane.Fragments, error) { return nil, dataplane.ErrCannotHold }

func (plane) WatchDrops() (dataplane.Drops, error) { return fake.NewDrops(), nil }

func (plane) Connections(uint32) iter.Seq[dataplane.Connection] {
	return func(func(dataplane.Connection) bool) {}
}

func (plane) Inspect() []string { return nil }

func (plane) Mend(*dataplane.Tables) ([]string, error) { return nil, nil }

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	if err := run(os.Args[2:], log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("ended", "reason", err)
		os.Exit(1)
	}
}

// run takes the flags of pointsman run that a lab gives.
func run(args []string, log *slog.Logger) error {
	flags := flag.NewFlagSet("earlier run", flag.ContinueOnError)
	config, pins, socket := flags.String("config", "", ""), flags.String("pin-dir", "", ""), flags.String("socket", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	return controlplane.Run(ctx, controlplane.Options{
		ConfigPath: *config, PinDir: *pins, Socket: *socket, Version: "earlier", Reload: hangups, Log: log,
		Open: func(s controlplane.Sizes) (controlplane.DataPlane, error) {
			opened, err := earlier.Open(earlier.Options{PinDir: *pins, Secret: s.Secret, Limits: s.Limits, Slots: s.Slots, Flows: s.Flows})
			return plane{opened}, err
		},
	})
}
