package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

func explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say which backend a client's packets go to, and why",
		ArgsUsage: "tcp|udp CLIENT:PORT VIP:PORT",
		UsageText: `pointsman explain [FLAGS] tcp|udp CLIENT:PORT VIP:PORT

It reads the kernel's tables as the program would at this moment, and changes
nothing. Where a slot is in motion, a connection that begins and one that goes on
may go to different backends. Exits with 4 where the packets are for no VIP.

Examples:
  pointsman explain tcp 198.51.100.7:40000 192.0.2.10:443
  pointsman explain udp '[2001:db8:7::7]:5353' '[2001:db8:10::53]:53'
  pointsman explain tcp 198.51.100.7:40000 192.0.2.10:443 -o json | jq '.packets[].backend.address'`,
		Flags: []cli.Flag{socketFlag(), outputFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 3 {
				return usageError{fmt.Errorf("explain takes a protocol, a client and a VIP, got %q", c.Args().Slice()), "pointsman explain"}
			}
			e, err := api.NewClient(c.String("socket")).Explain(c.Context, c.Args().Get(0), c.Args().Get(1), c.Args().Get(2))
			if err != nil {
				return err
			}
			if c.String("output") == "json" {
				return printJSON(c.App.Writer, e)
			}
			return printExplanation(c.App.Writer, e)
		},
	}
}

func printExplanation(w io.Writer, e api.Explanation) error {
	facts := newTable("service", e.Service+", "+e.Forward)
	facts.row("vip", e.VIP)
	facts.row("slot", fmt.Sprintf("%d of %d by %s, %s", e.Slot, e.Slots, e.SlotFrom, e.Phase))
	facts.row("owner", described(e.Owner))
	facts.row("fallback", described(e.Fallback))
	facts.row("remembered", described(e.Remembered))
	for _, note := range e.Notes {
		facts.row("note", note)
	}
	if err := facts.print(w); err != nil {
		return err
	}
	packets := newTable("PACKET", "OUTCOME", "BACKEND", "NEXT-HOP", "WHY")
	for _, p := range e.Packets {
		var to api.ExplainedBackend
		if p.Backend != nil {
			to = *p.Backend
		}
		packets.row(kinds[p.Kind], p.Outcome, dash(to.Address), dash(to.NextHop), p.Why)
	}
	return packets.print(w)
}

// kinds are what ExplainedPacket.Kind means to a reader.
var kinds = map[string]string{"syn": "a SYN", "other": "any other", "any": "any"}

func described(b *api.ExplainedBackend) string {
	if b == nil {
		return "-"
	}
	return b.Address + ", " + b.State
}
