package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the daemon on one page",
		UsageText: `pointsman status [FLAGS]

Examples:
  pointsman status
  pointsman status --brief --exit-code || echo "look at it"`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "brief", Usage: "one line"},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with 6 if anything is degraded, or once it is with --watch"},
			watchFlag(), socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			return watchable(c, func(ctx context.Context, w io.Writer) error {
				status, err := api.NewClient(c.String("socket")).Status(ctx)
				if err != nil {
					return err
				}
				if err := printStatus(c, w, status, clock()); err != nil {
					return err
				}
				if c.Bool("exit-code") && status.State != "ok" {
					return codedError{code: exitDegraded}
				}
				return nil
			})
		},
	}
}

func printStatus(c *cli.Context, w io.Writer, status api.Status, now time.Time) error {
	switch {
	case c.String("output") == "json":
		return printJSON(w, status)
	case c.Bool("brief"):
		_, err := fmt.Fprintf(w, "%s: services %s, %s\n", status.State, serviceCounts(status.Services), warnings(len(status.Warnings)))
		return err
	}
	return printStatusPage(w, status, now)
}

func printStatusPage(w io.Writer, status api.Status, now time.Time) error {
	var page strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&page, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("pointsman", "%s, pid %d, version %s, up %s", status.State, status.PID, status.Version, age(now.Sub(status.Started)))
	line("config", "%s, loaded %s ago", status.Config.Path, age(now.Sub(status.Config.Loaded)))
	switch consul := status.Consul; {
	case consul == nil:
		line("consul", "not used")
	case consul.OldestView == nil:
		line("consul", "%s, %s, no view yet", consul.Address, consul.State)
	case consul.StaleSince != nil:
		line("consul", "%s, stale since %s, %s ago", consul.Address, consul.StaleSince.UTC().Format(time.RFC3339), age(now.Sub(*consul.StaleSince)))
	default:
		line("consul", "%s, %s, oldest view %s ago", consul.Address, consul.State, age(now.Sub(*consul.OldestView)))
	}
	line("services", "%s", serviceCounts(status.Services))
	for _, i := range status.Interfaces {
		if i.Reason == "" {
			line("interface", "%s %s", i.Name, i.Mode)
		} else {
			line("interface", "%s %s: %s", i.Name, i.Mode, i.Reason)
		}
	}
	if apply := status.LastApply; apply != nil {
		line("tables", "last written %s ago in %.1f ms, %d steps", age(now.Sub(apply.At)), apply.ApplyMS, apply.Steps)
	}
	if repair := status.LastRepair; repair != nil {
		line("repairs", "%d, the last %s ago: %s", status.DriftRepairs, age(now.Sub(repair.At)), repair.Found)
	}
	line("packets", "%s", outcomes(status.Outcomes))
	flows := status.FlowTable
	line("flow table", "%d of %d remembered, %d refused", flows.Remembered, flows.Capacity, flows.Refused)
	if n := status.Connections; n.Open > 0 {
		line("nat", "%d of %d connections", n.Open, n.Capacity)
	}
	for _, d := range status.Draining {
		line("draining", "%s of %s: %s, cut in %s, %s", d.Address, d.Service,
			left(d.Slots, d.FallbackSlots, d.RememberedFlows), age(d.CutAt.Sub(now)), d.Reason)
	}
	for _, warning := range status.Warnings {
		line("warning", "%s", strings.ReplaceAll(warning, "\n", "\n            "))
	}
	_, err := io.WriteString(w, page.String())
	return err
}

func serviceCounts(n api.ServiceCounts) string {
	text := fmt.Sprintf("%d ok, %d degraded, %d down", n.OK, n.Degraded, n.Down)
	if n.Waiting > 0 {
		text += fmt.Sprintf(", %d waiting", n.Waiting)
	}
	return text
}

func warnings(n int) string {
	switch n {
	case 0:
		return "no warnings"
	case 1:
		return "1 warning"
	}
	return fmt.Sprintf("%d warnings", n)
}

// outcomes lists what became of packets, most frequent first, without zeros.
func outcomes(counts map[string]uint64) string {
	type outcome struct {
		name    string
		packets uint64
	}
	var seen []outcome
	for name, packets := range counts {
		if packets > 0 {
			seen = append(seen, outcome{name, packets})
		}
	}
	if len(seen) == 0 {
		return "none yet"
	}
	slices.SortFunc(seen, func(a, b outcome) int {
		return cmp.Or(cmp.Compare(b.packets, a.packets), strings.Compare(a.name, b.name))
	})
	var words []string
	for _, o := range seen {
		words = append(words, fmt.Sprintf("%s %d", o.name, o.packets))
	}
	return strings.Join(words, ", ")
}
