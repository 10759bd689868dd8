package main

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/signal"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

// followDecap lets this host follow the file until it is told to end.
func followDecap(c *cli.Context, o decap.Options) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
	defer stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, unix.SIGHUP)
	defer signal.Stop(hangups)
	var err error
	if o.Interface, err = decapInterface(o); err != nil {
		return err
	}
	err = controlplane.RunAgent(ctx, controlplane.AgentOptions{
		ConfigPath: c.String("config"),
		Host:       o,
		Linger:     c.Duration("linger"),
		Apply: func(ctx context.Context, o decap.Options) (decap.Report, error) {
			report, err := decap.On(ctx, o, decapProgram{})
			report.Warnings = decapWarnings(report)
			return report, err
		},
		Held:    heldByDecap,
		Hangups: hangups,
		Log:     newLog(c.App.ErrWriter, c.String("log-format")),
	})
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		printMistakes(c.App.ErrWriter, mistakes)
		return codedError{code: exitInvalid}
	}
	return err
}

// heldByDecap is what the kernel has. Nothing is attached before the first time.
func heldByDecap(o decap.Options) ([]netip.Prefix, []decap.Mapping, error) {
	ports, err := kernel.DecapPorts(o.PinDir, o.Interface)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var mappings []decap.Mapping
	for _, p := range ports {
		mappings = append(mappings, decap.Mapping{VIP: p.VIP, Protocol: p.Protocol, Local: p.Local, Named: p.Named})
	}
	vips, err := kernel.DecapVIPs(o.PinDir, o.Interface)
	return vips, mappings, err
}
