package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

func backendsCommand() *cli.Command {
	return &cli.Command{
		Name:      "backends",
		Usage:     "list the backends of each service, laid out as ipvsadm -Ln does",
		ArgsUsage: "[SERVICE]",
		UsageText: `pointsman backends [FLAGS] [SERVICE]

SLOTS are a backend's own. FALLBACK are those that were its own before a change
and whose flows it keeps unless they are remembered. REMEMBERED are flows in the
flow table, FLOWS all that began at it.

Examples:
  pointsman backends
  pointsman backends web --wide
  pointsman backends web -o json`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "wide", Usage: "also show packets and bytes in all, node, Consul's id and next hop"},
			watchFlag(), socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			service, err := positional(c, "")
			if err != nil {
				return err
			}
			return watchable(c, func(ctx context.Context, w io.Writer) error {
				list, err := api.NewClient(c.String("socket")).Backends(ctx, service)
				if err != nil {
					return err
				}
				if c.String("output") == "json" {
					return printJSON(w, list)
				}
				return printBackends(w, list, c.Bool("wide"), clock())
			})
		},
	}
}

// printBackends prints, as ipvsadm does, a line for each VIP and below it an
// indented line for each backend.
func printBackends(w io.Writer, list api.Backends, wide bool, now time.Time) error {
	header := []string{"  -> BACKEND", "WEIGHT", "STATE", "SINCE", "SLOTS", "FALLBACK", "REMEMBERED", "FLOWS", "PACKETS/S"}
	if wide {
		header = append(header, "BITS/S", "PACKETS", "BYTES", "SOURCE", "NODE", "ID", "NEXT-HOP")
	}
	t := newTable(append(header, "REASON")...)
	for _, s := range list.Services {
		for _, vip := range s.Listen {
			t.headline(fmt.Sprintf("%s  %s  %s  %s", vip, s.Name, s.Forward, s.State))
		}
		for _, b := range s.Backends {
			t.row(backendCells(b, wide, now)...)
		}
	}
	return t.print(w)
}

func backendCells(b api.Backend, wide bool, now time.Time) []string {
	cells := []string{"  -> " + b.Address, fmt.Sprint(b.Weight), b.State, age(now.Sub(b.Since)),
		fmt.Sprint(b.Slots), fmt.Sprint(b.FallbackSlots), fmt.Sprint(b.RememberedFlows), fmt.Sprint(b.NewFlows), short(b.Rates.Packets)}
	if wide {
		cells = append(cells, short(b.Rates.Bits), fmt.Sprint(b.Packets), fmt.Sprint(b.Bytes), b.Source, dash(b.Node), dash(b.ConsulID), dash(b.NextHop))
	}
	reason := b.Reason
	if b.State == "drain" && b.Drain != nil {
		reason += ", cut in " + age(b.Drain.CutAt.Sub(now))
	}
	return append(cells, dash(reason))
}
