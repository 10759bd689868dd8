package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/dataplane"
)

func flowsCommand() *cli.Command {
	return &cli.Command{
		Name:  "flows",
		Usage: "list the connections of services with forward = \"nat\"",
		UsageText: `pointsman flows [FLAGS]

SOURCE is the client as the backend sees it, LEFT how long the connection lasts if
no packet comes. Connections that are closed are listed as long as their ports
rest. Other modes of forwarding need no connections: 'pointsman explain' says
where a flow of theirs goes.

Examples:
  pointsman flows --client 198.51.100.7
  pointsman flows --vip 192.0.2.10:443/tcp --state established --limit 0
  pointsman flows -o json | jq '.states'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "vip", Usage: "only those to `VIP`: ADDRESS, ADDRESS:PORT, ADDRESS:PORT/PROTOCOL or PREFIX"},
			&cli.StringFlag{Name: "client", Usage: "only those from `ADDRESS|PREFIX`"},
			&cli.StringFlag{Name: "state", Usage: "only those in `STATE`: syn, established, …"},
			&cli.IntFlag{Name: "limit", Value: 100, Usage: "list `N` at most; 0 is all"},
			watchFlag(), socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			_, err := dataplane.ParsePacketFilter(c.String("vip"), c.String("client"))
			if err == nil && c.Int("limit") < 0 {
				err = errors.New("--limit takes nothing negative")
			}
			if err != nil {
				return usageError{err, "pointsman flows"}
			}
			return watchable(c, func(ctx context.Context, w io.Writer) error {
				list, err := api.NewClient(c.String("socket")).Flows(ctx, api.FlowsQuery{
					VIP: c.String("vip"), Client: c.String("client"), State: c.String("state"), Limit: c.Int("limit"),
				})
				if err != nil {
					return err
				}
				if c.String("output") == "json" {
					return printJSON(w, list)
				}
				return printFlows(w, list, clock())
			})
		},
	}
}

func printFlows(w io.Writer, list api.Flows, now time.Time) error {
	if len(list.Flows) > 0 {
		t := newTable("PROTOCOL", "CLIENT", "VIP", "SERVICE", "SOURCE", "BACKEND", "STATE", "AGE", "LEFT")
		for _, f := range list.Flows {
			t.row(f.Protocol, f.Client, f.VIP, dash(f.Service), f.Source, f.Backend, f.State, age(now.Sub(f.Begun)), age(f.Expires.Sub(now)))
		}
		if err := t.print(w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, flowsInAll(list))
	return err
}

// flowsInAll is the last line: how many there are, and in which states.
func flowsInAll(list api.Flows) string {
	text := counted(list.Total, "connection")
	if list.Total > len(list.Flows) {
		text += fmt.Sprintf(", %d of them listed", len(list.Flows))
	}
	var states []string
	for _, state := range slices.Sorted(maps.Keys(list.States)) {
		states = append(states, fmt.Sprintf("%d %s", list.States[state], state))
	}
	if len(states) > 0 {
		text += ": " + strings.Join(states, ", ")
	}
	return text + fmt.Sprintf("; there is room for %d", list.Capacity)
}
