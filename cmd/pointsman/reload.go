package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
)

// reloadDocument is what `reload -o json` prints: as check does, and when it
// was taken.
type reloadDocument struct {
	checkDocument
	Loaded   *time.Time `json:"loaded,omitempty"` // absent where it was not taken
	Services int        `json:"services"`
}

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "have the daemon read its configuration again, and say what is wrong with it",
		UsageText: `pointsman reload [FLAGS]

As SIGHUP, but it returns when the new configuration runs. One with a mistake
changes nothing: every mistake is reported with file, line, column and what to
do, and the exit code is 5.

Examples:
  pointsman reload
  pointsman check new.hcl && mv new.hcl /etc/pointsman/pointsman.hcl && pointsman reload`,
		Flags: []cli.Flag{socketFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			done, err := api.NewClient(c.String("socket")).Reload(c.Context, api.ReloadRequest{By: os.Getenv("SUDO_USER")})
			document := reloadDocument{
				checkDocument: checkDocument{SchemaVersion: 1, Path: done.Path, Valid: err == nil, Mistakes: config.Errors{}, Warnings: append([]string{}, done.Warnings...)},
				Services:      done.Services,
			}
			var problem *api.Problem
			switch {
			case err == nil:
				document.Loaded = &done.Loaded
			case errors.As(err, &problem) && len(problem.Mistakes) > 0:
				document.Path = problem.Path
				document.Mistakes, document.Warnings = mistakesOf(problem), append([]string{}, problem.Warnings...)
			default:
				return err
			}
			return printReload(c, document)
		},
	}
}

// mistakesOf are those that the daemon reports, as check prints them.
func mistakesOf(problem *api.Problem) (all config.Errors) {
	for _, m := range problem.Mistakes {
		all = append(all, config.Error{
			Position: config.Position{File: m.File, Line: m.Line, Column: m.Column},
			Source:   m.Source, Summary: m.Summary, Detail: m.Detail,
		})
	}
	return all
}

func printReload(c *cli.Context, document reloadDocument) error {
	if c.String("output") == "json" {
		if err := printJSON(c.App.Writer, document); err != nil {
			return err
		}
	} else {
		printMistakes(c.App.ErrWriter, document.Mistakes)
		for _, warning := range document.Warnings {
			fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", warning)
		}
	}
	switch {
	case !document.Valid:
		if c.String("output") == "table" {
			fmt.Fprintln(c.App.ErrWriter, "nothing was changed: the configuration before goes on")
		}
		return codedError{code: exitInvalid}
	case c.String("output") == "table":
		fmt.Fprintf(c.App.Writer, "%s runs: %s\n", document.Path, counted(document.Services, "service"))
	}
	return nil
}
