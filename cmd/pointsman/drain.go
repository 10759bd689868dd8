package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

func drainCommand() *cli.Command {
	return &cli.Command{
		Name:      "drain",
		Usage:     "let a backend keep its flows and give it no new ones",
		ArgsUsage: "SERVICE ADDRESS",
		UsageText: `pointsman drain [FLAGS] SERVICE ADDRESS

The drain outlives the daemon and ends after --ttl, or with undrain. The flows
that are left when the service's drain_timeout is over are cut. With --wait it
returns when no slot and no remembered flow is left, or exits with 7 after
--timeout; the drain goes on either way.

Examples:
  pointsman drain web 10.20.0.11 --reason "new kernel"
  pointsman drain web 10.20.0.11:443 --wait --timeout 15m && ssh 10.20.0.11 reboot
  pointsman undrain web 10.20.0.11`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "wait", Usage: "return when nothing is left of the backend's flows"},
			&cli.DurationFlag{Name: "timeout", Usage: "wait for `DURATION` at most; 0 is as long as it takes"},
		}, overrideFlags()...),
		Action: drain,
	}
}

func drain(c *cli.Context) error {
	service, _, err := serviceAndAddress(c)
	if err != nil {
		return err
	}
	if c.Duration("timeout") < 0 {
		return usageError{fmt.Errorf("--timeout takes no negative duration"), "pointsman drain"}
	}
	client := api.NewClient(c.String("socket"))
	taken, err := client.Override(c.Context, "drain", overrideRequest(c, 0))
	if err != nil {
		return err
	}
	if c.Bool("wait") {
		w := waiting{service: service, address: taken.Address, backends: client.Backends, progress: c.App.ErrWriter}
		if err := w.run(c.Context, c.Duration("timeout")); err != nil {
			return err
		}
	}
	if c.String("output") == "json" {
		return printJSON(c.App.Writer, taken)
	}
	text := fmt.Sprintf("%s of %s gets no new flows until %s", taken.Address, service, untilText(taken))
	if c.Bool("wait") {
		text = fmt.Sprintf("%s of %s is empty: no slot and no remembered flow is left", taken.Address, service)
	}
	_, err = fmt.Fprintln(c.App.Writer, text)
	return err
}

func serviceAndAddress(c *cli.Context) (service, address string, err error) {
	if c.NArg() != 2 {
		return "", "", usageError{fmt.Errorf("%s takes a service and the address of a backend, got %q", c.Command.Name, c.Args().Slice()),
			"pointsman " + c.Command.Name}
	}
	return c.Args().Get(0), c.Args().Get(1), nil
}
