package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

// detachDocument is what `detach -o json` prints.
type detachDocument struct {
	SchemaVersion int      `json:"schema_version"`
	Removed       []string `json:"removed"`
}

func detachCommand() *cli.Command {
	return &cli.Command{
		Name:  "detach",
		Usage: "take the programs and all that is pinned off this host; forwarding ends",
		UsageText: `pointsman detach [FLAGS]

The daemon must not run. Doing it again does no harm.

Example:
  systemctl stop pointsman && pointsman detach`,
		Flags: []cli.Flag{pinDirFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			removed, err := detach(c.String("pin-dir"))
			if err != nil {
				return err
			}
			if c.String("output") == "json" {
				return printJSON(c.App.Writer, detachDocument{1, append([]string{}, removed...)})
			}
			for _, what := range removed {
				fmt.Fprintf(c.App.Writer, "removed %s\n", what)
			}
			if len(removed) == 0 {
				fmt.Fprintln(c.App.ErrWriter, "there was nothing to remove")
			}
			return nil
		},
	}
}

// detach refuses while a daemon runs, which would go on writing into maps that
// nobody reads.
func detach(pinDir string) ([]string, error) {
	if _, err := os.Stat(pinDir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	lock, err := controlplane.Lock(pinDir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	removed, err := kernel.Detach(pinDir)
	if err != nil {
		return removed, fmt.Errorf("detaching: %w", err)
	}
	return removed, nil
}
