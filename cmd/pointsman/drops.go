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
	"github.com/pointsman/pointsman/dataplane"
)

func dropsCommand() *cli.Command {
	return &cli.Command{
		Name:  "drops",
		Usage: "show packets that are dropped, with the reason, as it happens",
		UsageText: `pointsman drops [FLAGS]

Goes on until ctrl-C, or --count. Each CPU tells of a hundred a second at most;
how many are not shown is said, too. While nobody watches, it costs nothing. The
README says what to do about each reason; 'pointsman status' counts them all, and
'pointsman capture' has the packets themselves.

Examples:
  pointsman drops
  pointsman drops --vip 192.0.2.10:443/tcp --reason DROP_TOO_BIG --reason DROP_NO_BACKEND
  pointsman drops --count 10 -o json | jq .source`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "reason", Usage: "only those with the outcome `NAME` (repeatable)"},
			&cli.StringFlag{Name: "vip", Usage: "only packets to `VIP`: ADDRESS, ADDRESS:PORT, ADDRESS:PORT/PROTOCOL or PREFIX; with a port, also those that show none"},
			&cli.StringFlag{Name: "client", Usage: "only packets from `ADDRESS|PREFIX`"},
			&cli.IntFlag{Name: "rate", Usage: "show `N` a second at most; 0 is all that are told of"},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N`; 0 is never"},
			socketFlag(), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			_, err := dataplane.ParsePacketFilter(c.String("vip"), c.String("client"))
			if err == nil && (c.Int("rate") < 0 || c.Int("count") < 0) {
				err = errors.New("--rate and --count take nothing negative")
			}
			if err != nil {
				return usageError{err, "pointsman drops"}
			}
			return watchDrops(c)
		},
	}
}

// errEnough ends what would go on for ever.
var errEnough = errors.New("enough")

func watchDrops(c *cli.Context) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, unix.SIGTERM)
	defer stop()
	p := dropPrinter{
		out: c.App.Writer, messages: c.App.ErrWriter, json: c.String("output") == "json",
		rate: c.Int("rate"), most: c.Int("count"), now: time.Now,
	}
	query := api.DropsQuery{Reasons: c.StringSlice("reason"), VIP: c.String("vip"), Client: c.String("client")}
	err := api.NewClient(c.String("socket")).Drops(ctx, query, p.take)
	if errors.Is(err, errEnough) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// dropPrinter prints drops as they come, and how many it leaves out.
type dropPrinter struct {
	out, messages io.Writer
	json          bool
	rate, most    int // 0 is no limit
	now           func() time.Time

	shown, leftOut int
	second         int64 // of the last that was shown,
	inSecond       int   // and how many were in it
}

func (p *dropPrinter) take(d api.Drop) error {
	if d.Reason == "" && d.NotShown == 0 {
		fmt.Fprintln(p.messages, "watching drops, ctrl-C ends it")
		return nil
	}
	if d.Reason != "" && !p.mayShow() {
		p.leftOut += 1 + int(d.NotShown)
		return nil
	}
	d.NotShown += uint64(p.leftOut)
	p.leftOut = 0
	if err := p.print(d); err != nil {
		return err
	}
	if d.Reason != "" {
		p.shown++
	}
	if p.most > 0 && p.shown >= p.most {
		return errEnough
	}
	return nil
}

func (p *dropPrinter) mayShow() bool {
	if now := p.now().Unix(); now != p.second {
		p.second, p.inSecond = now, 0
	}
	p.inSecond++
	return p.rate == 0 || p.inSecond <= p.rate
}

func (p *dropPrinter) print(d api.Drop) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(d)
	}
	if d.NotShown > 0 {
		fmt.Fprintf(p.messages, "%s not shown\n", count(int(d.NotShown), "drop"))
	}
	if d.Reason == "" {
		return nil
	}
	_, err := fmt.Fprintln(p.out, dropLine(d))
	return err
}

// dropLine is a row of a table that never ends, so its columns have fixed widths.
func dropLine(d api.Drop) string {
	ends := dash(d.Source)
	if d.Destination != "" {
		ends += " -> " + d.Destination
	}
	line := fmt.Sprintf("%s  %-16s  %-8s  %-4s  %s  %d bytes", d.At.Local().Format("15:04:05.000000"), d.Reason, d.Interface, dash(d.Protocol), ends, d.Length)
	if len(d.VLAN) > 0 {
		line += " vlan " + strings.Trim(strings.ReplaceAll(fmt.Sprint(d.VLAN), " ", "."), "[]")
	}
	return line
}
