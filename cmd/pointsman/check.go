package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane"
	"github.com/pointsman/pointsman/controlplane/config"
)

// checkDocument is what `check -o json` prints.
type checkDocument struct {
	SchemaVersion int           `json:"schema_version"`
	Path          string        `json:"path"`
	Valid         bool          `json:"valid"`
	Mistakes      config.Errors `json:"mistakes"`
	Warnings      []string      `json:"warnings"`
}

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "read a configuration and say what is wrong with it",
		ArgsUsage: "[FILE|DIR]",
		UsageText: `pointsman check [FLAGS] [FILE|DIR]

Reports every mistake with file, line, column and what to do, and exits with 5
if there is one. Without FILE it reads ` + defaultConfig + `.

Examples:
  pointsman check new.hcl && mv new.hcl /etc/pointsman/pointsman.hcl
  pointsman check --consul`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "consul", Usage: "also ask Consul whether it takes the queries and the token"},
			outputFlag(),
		},
		Action: func(c *cli.Context) error {
			path, err := positional(c, defaultConfig)
			if err != nil {
				return err
			}
			asked := controlplane.CheckOptions{Consul: c.Bool("consul"), Offline: !c.Bool("consul")}
			file, warnings, err := controlplane.Check(c.Context, path, asked)
			document := checkDocument{SchemaVersion: 1, Path: path, Valid: err == nil, Mistakes: config.Errors{}, Warnings: append([]string{}, warnings...)}
			if err != nil && !errors.As(err, &document.Mistakes) {
				return err
			}
			return printCheck(c, document, file)
		},
	}
}

func printCheck(c *cli.Context, document checkDocument, file *config.File) error {
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
	if !document.Valid {
		return codedError{code: exitInvalid}
	}
	if c.String("output") == "table" {
		fmt.Fprintf(c.App.ErrWriter, "%s is good: %s\n", document.Path, counted(len(file.Services), "service"))
	}
	return nil
}

func printMistakes(w io.Writer, mistakes config.Errors) {
	for _, mistake := range mistakes {
		fmt.Fprintf(w, "%v\n", mistake)
	}
	if len(mistakes) > 0 {
		fmt.Fprintf(w, "%s\n", counted(len(mistakes), "mistake"))
	}
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
