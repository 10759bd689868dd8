package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/pointsman/pointsman/controlplane/api"
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name:      "top",
		Usage:     "show what passes now, the busiest first",
		ArgsUsage: "[SERVICE]",
		UsageText: `pointsman top [FLAGS] [SERVICE]

Of all services, or of the backends of one. Numbers are per second, of the last
--interval. Where stdout is no terminal, it prints one table, as with --once.

  f p b    sort by new flows, packets, bits      n s    by name, by state
  r        turn the order round                  t      backends or services
  /        show only what has a text in it       space  stop and go on
  q        quit

Examples:
  pointsman top
  pointsman top web --sort bits
  pointsman top --once --interval 5s -o json | jq '.rows[0].name'`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "once", Usage: "print one table and end"},
			&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "measure over `DURATION`, 100ms to 1h"},
			&cli.StringFlag{Name: "sort", Value: "packets", Usage: "sort by `flows|packets|bits|name|state`", Action: oneOf("sort", sortNames...)},
			&cli.StringFlag{Name: "filter", Usage: "show only rows with `TEXT` in them"},
			&cli.BoolFlag{Name: "backends", Usage: "show backends rather than services"},
			socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			service, err := positional(c, "")
			if err != nil {
				return err
			}
			if every := c.Duration("interval"); every < 100*time.Millisecond || every > time.Hour {
				return usageError{errors.New("--interval takes 100ms to 1h"), "pointsman top"}
			}
			t := top{
				ask: api.NewClient(c.String("socket")), service: service, every: c.Duration("interval"),
				view: topView{sort: c.String("sort"), filter: c.String("filter"), backends: c.Bool("backends") || service != ""},
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
			defer stop()
			screen, isFile := c.App.Writer.(*os.File)
			if c.Bool("once") || c.String("output") == "json" || !isFile || !isTerminal(screen) {
				return t.once(ctx, c.App.Writer, c.String("output") == "json")
			}
			return t.live(ctx, c.App.Reader, screen)
		},
	}
}

// top measures what passes and shows it.
type top struct {
	ask interface {
		Status(ctx context.Context) (api.Status, error)
		Services(ctx context.Context) (api.Services, error)
		Backends(ctx context.Context, service string) (api.Backends, error)
	}
	service string
	every   time.Duration
	view    topView
}

// look asks how things are and takes it into the view.
func (t *top) look(ctx context.Context) error {
	status, err := t.ask.Status(ctx)
	if err != nil {
		return err
	}
	services, err := t.services(ctx)
	if err != nil {
		return err
	}
	t.view.take(clock(), status, services)
	return nil
}

// services have their backends only if these are to be seen: there may be a hundred
// thousand.
func (t *top) services(ctx context.Context) ([]api.ServiceBackends, error) {
	if t.view.backends || t.service != "" {
		list, err := t.ask.Backends(ctx, t.service)
		return list.Services, err
	}
	list, err := t.ask.Services(ctx)
	all := make([]api.ServiceBackends, 0, len(list.Services))
	for _, s := range list.Services {
		all = append(all, api.ServiceBackends{Service: s})
	}
	return all, err
}

// once prints what passes within one interval.
func (t *top) once(ctx context.Context, w io.Writer, asJSON bool) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(t.every):
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if asJSON {
		return printJSON(w, t.view.document())
	}
	return t.view.table().print(w)
}

// What a terminal is told: to keep what is on it aside and hide the cursor, the
// reverse, and to begin a frame over the last one.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[H"
	endLine     = "\x1b[K\r\n"
	endFrame    = "\x1b[J"
)

// live shows a frame an interval, and one at each key, until q.
func (t *top) live(ctx context.Context, keyboard io.Reader, screen *os.File) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	if file, ok := keyboard.(*os.File); ok && isTerminal(file) {
		before, err := term.MakeRaw(int(file.Fd()))
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer term.Restore(int(file.Fd()), before)
	}
	fmt.Fprint(screen, enterScreen)
	defer fmt.Fprint(screen, leaveScreen)
	keys := readKeys(ctx, keyboard)
	tick := time.NewTicker(t.every)
	defer tick.Stop()
	for {
		width, height, err := term.GetSize(int(screen.Fd()))
		if err != nil || width == 0 || height == 0 {
			width, height = 80, 24
		}
		if _, err := screen.WriteString(t.view.frame(width, height)); err != nil {
			return fmt.Errorf("writing to the terminal: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case key, open := <-keys:
			had := t.view.backends
			if !open {
				keys = nil // without a keyboard it goes on
			} else if t.view.press(key) {
				return nil
			}
			if t.view.backends != had {
				t.lookAgain(ctx)
			}
		case <-tick.C:
			if !t.view.paused {
				t.lookAgain(ctx)
			}
		}
	}
}

// lookAgain looks, and shows why it cannot.
func (t *top) lookAgain(ctx context.Context) {
	t.view.lost = ""
	if err := t.look(ctx); err != nil && ctx.Err() == nil {
		t.view.lost = err.Error()
	}
}

// readKeys passes keys on until there are none any more. It may wait for one
// beyond the context's end: nothing wakes who reads a terminal.
func readKeys(ctx context.Context, keyboard io.Reader) <-chan byte {
	keys := make(chan byte)
	go func() {
		defer close(keys)
		var buffer [1]byte
		for {
			if n, err := keyboard.Read(buffer[:]); n == 0 || err != nil {
				return
			}
			select {
			case keys <- buffer[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}
