package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

func servicesCommand() *cli.Command {
	return &cli.Command{
		Name:  "services",
		Usage: "list the services: where they listen, how they are, what they carry",
		UsageText: `pointsman services [FLAGS]

UNSETTLED is how many slots still digest a change, of TCP and of UDP. FLOWS/S are
those that begin. VIEW is how long ago Consul has confirmed its word.

Examples:
  pointsman services
  pointsman services -o json | jq '.services[] | select(.state != "ok") | .name'`,
		Flags: []cli.Flag{watchFlag(), socketFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			return watchable(c, func(ctx context.Context, w io.Writer) error {
				list, err := api.NewClient(c.String("socket")).Services(ctx)
				if err != nil {
					return err
				}
				if c.String("output") == "json" {
					return printJSON(w, list)
				}
				return printServices(w, list, clock())
			})
		},
	}
}

func printServices(w io.Writer, list api.Services, now time.Time) error {
	t := newTable("SERVICE", "LISTEN", "MODE", "STATE", "SINCE", "UP", "UNSETTLED", "FLOWS/S", "PACKETS/S", "BITS/S", "VIEW", "REASON")
	for _, s := range list.Services {
		view := "-"
		if s.ViewConfirmed != nil {
			view = age(now.Sub(*s.ViewConfirmed))
		}
		if s.StaleSince != nil {
			view += " stale"
		}
		t.row(s.Name, strings.Join(s.Listen, ","), s.Forward, s.State, age(now.Sub(s.Since)),
			fmt.Sprintf("%d/%d", s.BackendsUp, s.BackendsTotal), fmt.Sprint(unsettled(s.Phases)),
			short(s.Rates.NewFlows), short(s.Rates.Packets), short(s.Rates.Bits), view, dash(s.Reason))
	}
	return t.print(w)
}

// unsettled is the number of slots that digest a change.
func unsettled(phases map[string]api.Phases) uint32 {
	var sum uint32
	for _, p := range phases {
		sum += p.Moving + p.Learning + p.Settling
	}
	return sum
}
