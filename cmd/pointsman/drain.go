package main

import (
	"fmt"
	"os"
	"time"

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
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "wait", Usage: "return when nothing is left of the backend's flows"},
			&cli.DurationFlag{Name: "timeout", Usage: "wait for `DURATION` at most; 0 is as long as it takes"},
			&cli.StringFlag{Name: "reason", Usage: "say in lists and logs that it is for this `REASON`"},
			&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "end the drain after `DURATION`, 1s to 720h"},
			socketFlag(), outputFlag(),
		},
		Action: drain,
	}
}

func drain(c *cli.Context) error {
	service, address, err := serviceAndAddress(c)
	if err != nil {
		return err
	}
	if c.Duration("timeout") < 0 {
		return usageError{fmt.Errorf("--timeout takes no negative duration"), "pointsman drain"}
	}
	client := api.NewClient(c.String("socket"))
	taken, err := client.Drain(c.Context, api.DrainRequest{
		Service: service, Address: address, Reason: c.String("reason"),
		TTL: c.Duration("ttl").String(), By: os.Getenv("SUDO_USER"),
	})
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
	text := fmt.Sprintf("%s of %s gets no new flows until %s", taken.Address, service, taken.Until.Local().Format(time.RFC3339))
	if c.Bool("wait") {
		text = fmt.Sprintf("%s of %s is empty: no slot and no remembered flow is left", taken.Address, service)
	}
	_, err = fmt.Fprintln(c.App.Writer, text)
	return err
}

func undrainCommand() *cli.Command {
	return &cli.Command{
		Name:      "undrain",
		Usage:     "end what drain began",
		ArgsUsage: "SERVICE ADDRESS",
		UsageText: `pointsman undrain [FLAGS] SERVICE ADDRESS

The backend gets new flows again, over the service's slow_start. What Consul or
the file drains, by maintenance or weight 0, only they can end.

Example:
  pointsman undrain web 10.20.0.11`,
		Flags: []cli.Flag{socketFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			service, address, err := serviceAndAddress(c)
			if err != nil {
				return err
			}
			ended, err := api.NewClient(c.String("socket")).Undrain(c.Context, api.UndrainRequest{
				Service: service, Address: address, By: os.Getenv("SUDO_USER"),
			})
			if err != nil {
				return err
			}
			if c.String("output") == "json" {
				return printJSON(c.App.Writer, ended)
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s of %s is drained by no operator any more\n", ended.Address, service)
			return err
		},
	}
}

func serviceAndAddress(c *cli.Context) (service, address string, err error) {
	if c.NArg() != 2 {
		return "", "", usageError{fmt.Errorf("%s takes a service and the address of a backend, got %q", c.Command.Name, c.Args().Slice()),
			"pointsman " + c.Command.Name}
	}
	return c.Args().Get(0), c.Args().Get(1), nil
}
