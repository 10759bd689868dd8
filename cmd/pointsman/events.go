package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "show what has changed, why, and how fast it was carried out",
		ArgsUsage: "[SERVICE]",
		UsageText: `pointsman events [FLAGS] [SERVICE]

TIME is when it was carried out, CONSUL when Consul's answer said so. DETECT is the
time from the first sign of a change, a probe or that answer, to knowing of it, and
APPLY the time from there to the last table written. The daemon remembers the last
4096. What flaps is told of once a minute, with the number of changes.

With --follow it goes on until ctrl-C, over restarts of the daemon, and -o json
prints a line for each.

Examples:
  pointsman events
  pointsman events web --follow
  pointsman events --limit 0 -o json | jq '.events[] | select(.level != "info")'`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what happens from now on"},
			&cli.IntFlag{Name: "limit", Value: 100, Usage: "show the last `N` at most; 0 is all"},
			socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			service, err := positional(c, "")
			if err != nil {
				return err
			}
			if c.Int("limit") < 0 {
				return usageError{errors.New("--limit takes nothing negative"), "pointsman events"}
			}
			client := api.NewClient(c.String("socket"))
			list, err := client.Events(c.Context, api.EventsQuery{Service: service})
			if err != nil {
				return err
			}
			if limit := c.Int("limit"); limit > 0 && len(list.Events) > limit {
				list.Events = list.Events[len(list.Events)-limit:]
			}
			if c.Bool("follow") {
				f := eventFollower{ask: client.Events, service: service, out: c.App.Writer, messages: c.App.ErrWriter, json: c.String("output") == "json"}
				ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
				defer stop()
				return f.follow(ctx, list)
			}
			if c.String("output") == "json" {
				return printJSON(c.App.Writer, list)
			}
			return printEvents(c.App.Writer, list)
		},
	}
}

var eventColumns = []string{"TIME", "SERVICE", "BACKEND", "EVENT", "CONSUL", "DETECT", "APPLY", "REASON"}

func printEvents(w io.Writer, list api.Events) error {
	t := newTable(eventColumns...)
	for _, e := range list.Events {
		t.row(eventCells(e)...)
	}
	return t.print(w)
}

func eventCells(e api.Event) []string {
	text := e.Text
	if e.Was != "" && e.Was != "new" && e.Kind != "service" {
		text += ", was " + e.Was
	}
	if e.Changes > 1 {
		text += fmt.Sprintf(", %d changes, now %s", e.Changes, e.State)
	}
	if e.Interface != "" {
		text += " to " + e.Interface + ", " + e.State
	}
	reason := strings.Join(strings.Fields(e.Reason), " ")
	if e.By != "" {
		reason = strings.TrimSuffix("by "+e.By+": "+reason, ": ")
	}
	consul := "-"
	if e.ConsulAt != nil {
		consul = e.ConsulAt.Local().Format("15:04:05.000")
	}
	return []string{e.At.Local().Format("01-02 15:04:05.000"), dash(e.Service), dash(e.Backend), text, consul, took(e.DetectMS), took(e.ApplyMS), dash(reason)}
}

func took(ms *float64) string {
	if ms == nil {
		return "-"
	}
	return fmt.Sprintf("%.1fms", *ms)
}

// eventFollower prints events as they come, in columns that never get narrower.
type eventFollower struct {
	ask           func(context.Context, api.EventsQuery) (api.Events, error)
	service       string
	out, messages io.Writer
	json          bool

	columns widths
	lost    bool // the daemon, and it was said
}

// followWait is how long one question waits for an answer.
const followWait = time.Minute

// followAgain is how long to wait before a daemon that does not answer is asked again.
const followAgain = time.Second

func (f *eventFollower) follow(ctx context.Context, list api.Events) error {
	for {
		if err := f.print(list); err != nil {
			return err
		}
		next, err := f.next(ctx, list.Generation)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		list = next
	}
}

// next waits for more, and for a daemon where there is none: it is being replaced.
func (f *eventFollower) next(ctx context.Context, since uint64) (api.Events, error) {
	for {
		list, err := f.ask(ctx, api.EventsQuery{Service: f.service, Generation: since, Wait: followWait})
		if err == nil {
			f.lost = false
			return list, nil
		}
		var problem *api.Problem
		if errors.As(err, &problem) || ctx.Err() != nil {
			return api.Events{}, err
		}
		if !f.lost {
			fmt.Fprintln(f.messages, "the daemon does not answer, waiting for it")
			f.lost = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(followAgain):
		}
	}
}

func (f *eventFollower) print(list api.Events) error {
	if list.Missed {
		fmt.Fprintln(f.messages, "some events are forgotten already")
	}
	if !f.json && f.columns == nil {
		for _, e := range list.Events {
			f.columns.widen(eventCells(e))
		}
		if err := f.line(eventColumns); err != nil {
			return err
		}
	}
	for _, e := range list.Events {
		if err := f.event(e); err != nil {
			return err
		}
	}
	return nil
}

func (f *eventFollower) event(e api.Event) error {
	if f.json {
		return json.NewEncoder(f.out).Encode(struct {
			SchemaVersion int `json:"schema_version"`
			api.Event
		}{api.SchemaVersion, e})
	}
	return f.line(eventCells(e))
}

func (f *eventFollower) line(cells []string) error {
	f.columns.widen(cells)
	_, err := io.WriteString(f.out, f.columns.line(cells))
	return err
}
