package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set by the build; without one it is the commit that Go recorded.
var version = ""

// versionDocument is what `version -o json` prints.
type versionDocument struct {
	SchemaVersion int    `json:"schema_version"`
	Version       string `json:"version"`
	Go            string `json:"go"`
	Platform      string `json:"platform"`
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "say which pointsman this is",
		UsageText: "pointsman version [FLAGS]\n\nExample:\n  pointsman version -o json",
		Flags:     []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			v := versionDocument{1, buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if c.String("output") == "json" {
				return printJSON(c.App.Writer, v)
			}
			_, err := fmt.Fprintf(c.App.Writer, "pointsman %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			return err
		},
	}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				return setting.Value[:min(12, len(setting.Value))]
			}
		}
	}
	return "devel"
}
