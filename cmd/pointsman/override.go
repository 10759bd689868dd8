package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

// overrideFlags are those of every command that asks for an override.
func overrideFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "reason", Usage: "say in lists and logs that it is for this `REASON`"},
		&cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "end it after `DURATION`, 1s to 720h"},
		socketFlag(), outputFlag(),
	}
}

func disableCommand() *cli.Command {
	return &cli.Command{
		Name:      "disable",
		Usage:     "let a backend have no packets at all: its flows are cut",
		ArgsUsage: "SERVICE ADDRESS",
		UsageText: `pointsman disable [FLAGS] SERVICE ADDRESS

For a backend that does harm. drain lets its flows end first. It outlives the
daemon and ends after --ttl, or with enable.

Examples:
  pointsman disable web 10.20.0.11 --reason "answers with others' data"
  pointsman enable web 10.20.0.11`,
		Flags: overrideFlags(),
		Action: func(c *cli.Context) error {
			return override(c, "disable", 0, func(o api.Override) string {
				return fmt.Sprintf("%s of %s gets no packets until %s", o.Address, o.Service, untilText(o))
			})
		},
	}
}

func weightCommand() *cli.Command {
	return &cli.Command{
		Name:      "weight",
		Usage:     "give a backend another weight for a while",
		ArgsUsage: "SERVICE ADDRESS WEIGHT",
		UsageText: `pointsman weight [FLAGS] SERVICE ADDRESS WEIGHT

WEIGHT is 1 to 256 and stands for that of Consul or the file; open flows stay
where they are. It outlives the daemon and ends after --ttl, or with
'pointsman overrides --clear SERVICE ADDRESS'.

Example:
  pointsman weight web 10.20.0.11 1 --ttl 30m --reason "new release, carefully"`,
		Flags: overrideFlags(),
		Action: func(c *cli.Context) error {
			weight := uint64(0)
			if c.NArg() == 3 {
				var err error
				if weight, err = strconv.ParseUint(c.Args().Get(2), 10, 16); err != nil {
					return usageError{fmt.Errorf("%q is not a weight: 1 to 256", c.Args().Get(2)), "pointsman weight"}
				}
			}
			if c.NArg() != 3 {
				return usageError{fmt.Errorf("weight takes a service, the address of a backend and a weight, got %q", c.Args().Slice()), "pointsman weight"}
			}
			return override(c, "weight", uint16(weight), func(o api.Override) string {
				return fmt.Sprintf("%s of %s has weight %d until %s", o.Address, o.Service, o.Weight, untilText(o))
			})
		},
	}
}

// override asks for one and says that it is taken.
func override(c *cli.Context, kind string, weight uint16, says func(api.Override) string) error {
	if kind != "weight" {
		if _, _, err := serviceAndAddress(c); err != nil {
			return err
		}
	}
	taken, err := api.NewClient(c.String("socket")).Override(c.Context, kind, overrideRequest(c, weight))
	if err != nil {
		return err
	}
	if c.String("output") == "json" {
		return printJSON(c.App.Writer, taken)
	}
	_, err = fmt.Fprintln(c.App.Writer, says(taken))
	return err
}

func overrideRequest(c *cli.Context, weight uint16) api.OverrideRequest {
	return api.OverrideRequest{
		Service: c.Args().Get(0), Address: c.Args().Get(1), Weight: weight, Reason: c.String("reason"),
		TTL: c.Duration("ttl").String(), By: os.Getenv("SUDO_USER"),
	}
}

func untilText(o api.Override) string { return o.Until.Local().Format(time.RFC3339) }

func enableCommand() *cli.Command {
	return liftCommand("enable", "end what disable began", `The backend gets flows again, over the service's slow_start, if it is well.`, "is disabled by no operator any more")
}

func undrainCommand() *cli.Command {
	return liftCommand("undrain", "end what drain began", `The backend gets new flows again, over the service's slow_start. What Consul or
the file drains, by maintenance or weight 0, only they can end.`, "is drained by no operator any more")
}

func liftCommand(verb, usage, text, done string) *cli.Command {
	return &cli.Command{
		Name:      verb,
		Usage:     usage,
		ArgsUsage: "SERVICE ADDRESS",
		UsageText: fmt.Sprintf("pointsman %s [FLAGS] SERVICE ADDRESS\n\n%s\n\nExample:\n  pointsman %s web 10.20.0.11", verb, text, verb),
		Flags:     []cli.Flag{socketFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			service, address, err := serviceAndAddress(c)
			if err != nil {
				return err
			}
			ended, err := api.NewClient(c.String("socket")).Lift(c.Context, verb, api.LiftRequest{
				Service: service, Address: address, By: os.Getenv("SUDO_USER"),
			})
			if err != nil {
				return err
			}
			if c.String("output") == "json" {
				return printJSON(c.App.Writer, ended)
			}
			_, err = fmt.Fprintf(c.App.Writer, "%s of %s %s\n", ended.Address, service, done)
			return err
		},
	}
}

func overridesCommand() *cli.Command {
	return &cli.Command{
		Name:      "overrides",
		Usage:     "list what operators want of backends: drains, weights, who is disabled",
		ArgsUsage: "[SERVICE [ADDRESS]]",
		UsageText: `pointsman overrides [FLAGS] [SERVICE [ADDRESS]]

BY is the user on the other end of the socket, as the kernel knows it. STATE is the
backend's now; gone is one that is a backend no more, whose override waits for it
to come back. --clear ends those that would be listed.

Examples:
  pointsman overrides
  pointsman overrides web 10.20.0.11 --clear`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "clear", Usage: "end them, and list which"},
			watchFlag(), socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 2 {
				return usageError{fmt.Errorf("too many arguments: %q", c.Args().Slice()[2:]), "pointsman overrides"}
			}
			if c.Bool("clear") && c.Bool("watch") {
				return usageError{errors.New("--clear is done once, --watch goes on"), "pointsman overrides"}
			}
			return watchable(c, func(ctx context.Context, w io.Writer) error {
				list, err := askOverrides(ctx, c)
				if err != nil {
					return err
				}
				if c.String("output") == "json" {
					return printJSON(w, list)
				}
				if c.Bool("clear") && len(list.Overrides) == 0 {
					fmt.Fprintln(c.App.ErrWriter, "there was nothing to clear")
					return nil
				}
				return printOverrides(w, list, clock())
			})
		},
	}
}

func askOverrides(ctx context.Context, c *cli.Context) (api.Overrides, error) {
	client := api.NewClient(c.String("socket"))
	service, address := c.Args().Get(0), c.Args().Get(1)
	if c.Bool("clear") {
		return client.ClearOverrides(ctx, api.ClearRequest{Service: service, Address: address, By: os.Getenv("SUDO_USER")})
	}
	return client.Overrides(ctx, service, address)
}

func printOverrides(w io.Writer, list api.Overrides, now time.Time) error {
	t := newTable("SERVICE", "BACKEND", "OVERRIDE", "STATE", "BY", "SINCE", "LEFT", "REASON")
	for _, o := range list.Overrides {
		kind := o.Kind
		if o.Weight > 0 {
			kind += " " + strconv.Itoa(int(o.Weight))
		}
		t.row(o.Service, o.Address, kind, o.State, o.By, age(now.Sub(o.Since)), age(o.Until.Sub(now)), dash(o.Reason))
	}
	return t.print(w)
}
