package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
)

// watchEvery is how far apart a list is printed that is watched.
const watchEvery = time.Second

// clearScreen goes to the first line and column of a terminal and clears what is there.
const clearScreen = "\x1b[H\x1b[2J\x1b[3J"

func watchFlag() cli.Flag {
	return &cli.BoolFlag{Name: "watch", Usage: "print it anew each second, until ctrl-C"}
}

// watchable prints a list once, or again and again with --watch. A daemon that is
// being replaced meanwhile is waited for.
func watchable(c *cli.Context, print func(ctx context.Context, w io.Writer) error) error {
	if !c.Bool("watch") {
		return print(c.Context, c.App.Writer)
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
	defer stop()
	for seen := false; ; {
		var text bytes.Buffer
		err := print(ctx, &text)
		var unreachable *api.UnreachableError
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && seen && errors.As(err, &unreachable):
			text.Reset()
			fmt.Fprintln(&text, "the daemon does not answer, waiting for it")
		case err != nil:
			_, _ = c.App.Writer.Write(text.Bytes()) // what was wrong comes first
			return err
		}
		seen = true
		if isTerminal(c.App.Writer) {
			fmt.Fprint(c.App.Writer, clearScreen)
		}
		if _, err := c.App.Writer.Write(text.Bytes()); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}
