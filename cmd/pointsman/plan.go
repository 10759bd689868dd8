package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "say what the configuration file would change in what runs",
		UsageText: `pointsman plan [FLAGS]

Nothing is changed: 'pointsman reload' does that. MOVES is the share of new flows
that would begin at another backend than now; flows that are open stay where they
are, unless their backend goes. Exits with 8 if anything would change, with 0 if
not, and with 5 if the file has mistakes.

Examples:
  pointsman plan
  pointsman plan -o json | jq '.services[] | {name, moved_share}'`,
		Flags: []cli.Flag{socketFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			plan, err := api.NewClient(c.String("socket")).Plan(c.Context)
			var problem *api.Problem
			if errors.As(err, &problem) && len(problem.Mistakes) > 0 {
				return printReload(c, reloadDocument{checkDocument: checkDocument{
					SchemaVersion: 1, Path: problem.Path, Mistakes: mistakesOf(problem), Warnings: append([]string{}, problem.Warnings...),
				}})
			}
			if err != nil {
				return err
			}
			if c.String("output") == "json" {
				err = printJSON(c.App.Writer, plan)
			} else {
				err = printPlan(c.App.Writer, c.App.ErrWriter, plan)
			}
			if err == nil && plan.Changes {
				err = codedError{code: exitChanges}
			}
			return err
		},
	}
}

func printPlan(w, messages io.Writer, plan api.Plan) error {
	for _, warning := range plan.Warnings {
		fmt.Fprintf(messages, "warning: %s\n", warning)
	}
	if !plan.Changes {
		_, err := fmt.Fprintf(w, "%s would change nothing\n", plan.Path)
		return err
	}
	t := newTable("SERVICE", "CHANGE", "MOVES", "WHAT")
	for _, s := range plan.Services {
		moves := "-"
		if s.Change == "changed" && s.Unknown == "" {
			moves = fmt.Sprintf("%.1f %%", 100*s.MovedShare)
		}
		t.row(s.Name, s.Change, moves, strings.Join(append(s.VIPs, s.Settings...), ", "))
		if s.Unknown != "" {
			t.row("", "", "", "its backends are not known: "+s.Unknown)
		}
		for _, b := range s.Backends {
			t.row("", b.Change, "", b.Address+", "+b.Detail)
		}
	}
	for _, name := range plan.Interfaces {
		t.row("interface", "", "", name)
	}
	return t.print(w)
}
