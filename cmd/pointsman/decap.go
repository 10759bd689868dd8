package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

func decapCommand() *cli.Command {
	return &cli.Command{
		Name:  "decap",
		Usage: "on a backend: attach the decapsulating program, put the VIPs on lo, set what direct return needs",
		UsageText: `pointsman decap --vip ADDRESS|PREFIX... --from PREFIX... [FLAGS]
pointsman decap --config FILE|DIR --from PREFIX... [FLAGS]
pointsman decap --off [--interface NAME]
pointsman decap --counters|--mappings [--interface NAME]

Takes what a balancer sends out of its tunnel (IP in IP, or in GUE on UDP port
6080, any mix of families), if it is for one of the VIPs and comes from one of
the prefixes. All else is left alone. It stays until --off or the next boot;
repeating it, also with other VIPs, changes only what differs. --off undoes
exactly what it did, by the record in the state file.

With --map a server may listen on another port than the VIP's: what comes for
the VIP's port goes to the server's, and its answers leave as the VIP's. The
service needs port_mapping = true on the balancer.

With --config the command stays and follows: VIPs and mappings are those of the
services in the balancers' file, or one of this host's own, that have an instance
at an address of this host, by the file or by Consul. SIGHUP reads the file again.
When it ends, all stays in place.

Examples:
  pointsman decap --vip 192.0.2.10 --vip 2001:db8:10::10 --from 10.0.0.0/29 --from fd00::/64
  pointsman decap --vip 192.0.2.53 --no-program      # a service with forward = "l2"
  pointsman decap --vip 192.0.2.64/26 --from 10.0.0.1   # a VIP of all addresses of a prefix
  pointsman decap --vip 192.0.2.10 --from 10.0.0.1 --map 192.0.2.10:443/tcp=20001
  pointsman decap --config /etc/pointsman/pointsman.hcl --from 10.0.0.0/29
  pointsman decap --counters -o json
  pointsman decap --off`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "vip", Usage: "answer for the VIP with this `ADDRESS`, or for all addresses of this prefix (repeatable)"},
			&cli.StringSliceFlag{Name: "from", Usage: "decapsulate only what balancers in this `PREFIX` or with this address send (repeatable)"},
			&cli.StringFlag{Name: "config", Usage: "follow the services of `FILE|DIR` that have instances on this host, and Consul"},
			&cli.DurationFlag{Name: "linger", Value: 10 * time.Minute, Usage: "with --config, keep for `DURATION` what no instance needs any more, for the flows it has"},
			&cli.StringFlag{Name: "log-format", Usage: "with --config, log as `text|json`", Action: oneOf("log-format", "text", "json")},
			&cli.StringSliceFlag{Name: "map", Usage: "a server of the VIP's port listens on another, as `VIP:PORT/PROTOCOL=PORT` (repeatable; several of one VIP need forward = \"gue\")"},
			&cli.StringSliceFlag{Name: "out", Usage: "answers leave by the interface `NAME` (repeatable; default: all that routes leave by)"},
			&cli.StringFlag{Name: "interface", Usage: "the interface `NAME` that the balancer's packets arrive on (default: that of the default route; with --off: all)"},
			&cli.StringFlag{Name: "mode", Value: string(kernel.DecapAuto), Usage: "attach as `MODE`: xdp, generic, tc, or the first of these that works: auto"},
			&cli.BoolFlag{Name: "no-program", Usage: "set up VIPs and sysctls only: for forward = \"l2\", or where the kernel's own tunnel devices decapsulate"},
			&cli.BoolFlag{Name: "off", Usage: "undo what this command did on this host"},
			&cli.BoolFlag{Name: "counters", Usage: "print what became of the packets that arrived"},
			&cli.BoolFlag{Name: "mappings", Usage: "print which ports are mapped"},
			&cli.StringFlag{Name: "state-file", Value: decap.DefaultStateFile, Usage: "keep the record of what was changed in `FILE`"},
			pinDirFlag(),
			outputFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			options, err := decapOptions(c)
			if err != nil {
				return usageError{err, "pointsman decap"}
			}
			if c.Bool("counters") {
				return printDecapCounters(c, options)
			}
			if c.Bool("mappings") {
				return printDecapMappings(c, options)
			}
			if c.String("config") != "" {
				return followDecap(c, options)
			}
			carryOut := decap.On
			if c.Bool("off") {
				carryOut = decap.Off
			}
			report, err := carryOut(c.Context, options, decapProgram{})
			return errors.Join(printDecap(c, report), err)
		},
	}
}

// decapOptions refuses what cannot be meant, so that a slip is not taken for a wish.
func decapOptions(c *cli.Context) (decap.Options, error) {
	o := decap.Options{
		Interface: c.String("interface"),
		NoProgram: c.Bool("no-program"),
		Mode:      c.String("mode"),
		PinDir:    c.String("pin-dir"),
		StateFile: c.String("state-file"),
		Out:       c.StringSlice("out"),
	}
	asked := 0
	for _, flag := range []string{"off", "counters", "mappings"} {
		if c.Bool(flag) {
			asked++
		}
	}
	asks := asked > 0
	given := len(c.StringSlice("vip")) + len(c.StringSlice("from")) + len(c.StringSlice("map")) + len(o.Out)
	switch {
	case asked > 1:
		return o, errors.New("--off, --counters and --mappings exclude each other")
	case asks && (given > 0 || o.NoProgram):
		return o, errors.New("--off, --counters and --mappings take neither --vip nor --from, --map, --out or --no-program: they are about what is there")
	case c.Duration("linger") < 0:
		return o, errors.New("--linger takes no negative duration")
	case asks && c.String("config") != "":
		return o, errors.New("--off, --counters and --mappings do not follow a --config")
	case !asks && len(c.StringSlice("vip")) == 0 && c.String("config") == "":
		return o, errors.New("give at least one --vip, or --config, or --off")
	case !asks && !o.NoProgram && len(c.StringSlice("from")) == 0:
		return o, errors.New("give the balancers' addresses with --from, or --no-program")
	}
	if !slices.Contains([]kernel.DecapMode{kernel.DecapAuto, kernel.DecapXDP, kernel.DecapGeneric, kernel.DecapTC}, kernel.DecapMode(o.Mode)) {
		return o, errors.New("--mode takes auto, xdp, generic or tc")
	}
	return o, errors.Join(parseVIPs(c, &o), parseBalancers(c, &o), parseMappings(c, &o))
}

func parseVIPs(c *cli.Context, o *decap.Options) error {
	for _, text := range c.StringSlice("vip") {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			o.VIPs = append(o.VIPs, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		switch {
		case err != nil || prefix.Addr().Is4In6():
			return fmt.Errorf("--vip takes an address or a prefix, without a port, not %q", text)
		case prefix != prefix.Masked():
			return fmt.Errorf("--vip %s has bits set beyond its length: did you mean %s?", text, prefix.Masked())
		}
		o.VIPs = append(o.VIPs, prefix)
	}
	return nil
}

func parseBalancers(c *cli.Context, o *decap.Options) error {
	for _, text := range c.StringSlice("from") {
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			o.From = append(o.From, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Addr().Is4In6() {
			return fmt.Errorf("--from takes an address or a prefix, not %q", text)
		}
		o.From = append(o.From, prefix.Masked())
	}
	return nil
}

// decapProgram lets package decap attach what package kernel holds.
type decapProgram struct{}

func (decapProgram) Attach(o decap.Options) (decap.Attachment, error) {
	attached, err := kernel.OpenDecap(kernel.DecapOptions{
		Interface: o.Interface,
		Mode:      kernel.DecapMode(o.Mode),
		VIPs:      o.VIPs,
		From:      o.From,
		Ports:     decapPorts(o.Mappings),
		Out:       o.Out,
		PinDir:    o.PinDir,
	})
	return decap.Attachment{Mode: attached.Mode, Reason: attached.Reason, Limit: attached.Limit, Out: attached.Out}, err
}

func (decapProgram) Detach(pinDir, iface string) ([]string, error) {
	return kernel.CloseDecap(pinDir, iface)
}

func printDecap(c *cli.Context, report decap.Report) error {
	if c.String("output") == "json" && report.Done != nil {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int `json:"schema_version"`
			decap.Report
		}{1, report})
	}
	for _, warning := range decapWarnings(report) {
		fmt.Fprintf(c.App.ErrWriter, "pointsman: %s\n", warning)
	}
	if len(report.Done) == 0 {
		return nil
	}
	return printDecapChanges(c.App.Writer, report)
}

func decapWarnings(report decap.Report) []string {
	warnings := slices.Clone(report.Warnings)
	if report.Attachment == nil {
		return warnings
	}
	for _, text := range []string{report.Attachment.Reason, report.Attachment.Limit} {
		if text != "" {
			warnings = append(warnings, fmt.Sprintf("the program on %s is attached as %s: %s", report.Interface, report.Attachment.Mode, text))
		}
	}
	return warnings
}

func printDecapChanges(w io.Writer, report decap.Report) error {
	t := newTable("CHANGE", "BEFORE", "AFTER", "ACTION", "WHY")
	for _, done := range report.Done {
		before, after := done.Before, done.After
		if done.Kind == decap.Tunnel && report.Attachment != nil {
			after = report.Attachment.Mode
		}
		t.row(string(done.Kind)+" "+done.Name, dash(before), dash(after), string(done.Action), dash(done.Why))
	}
	return t.print(w)
}

// decapInterface is the one that is asked about, named or not.
func decapInterface(o decap.Options) (string, error) {
	if o.Interface != "" {
		return o.Interface, nil
	}
	return decap.DefaultInterface()
}

// sayNotAttached puts it plainly if it is that.
func sayNotAttached(err error, iface string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the program is not attached to %s: attach it with --vip and --from, or name another --interface", iface)
	}
	return err
}

func printDecapCounters(c *cli.Context, o decap.Options) error {
	iface, err := decapInterface(o)
	if err != nil {
		return err
	}
	counters, err := kernel.DecapCounters(o.PinDir, iface)
	if err != nil {
		return sayNotAttached(err, iface)
	}
	if c.String("output") == "json" {
		return printJSON(c.App.Writer, struct {
			SchemaVersion int               `json:"schema_version"`
			Interface     string            `json:"interface"`
			Outcomes      map[string]uint64 `json:"outcomes"`
		}{1, iface, counters})
	}
	t := newTable("OUTCOME", "PACKETS")
	busiestFirst := func(a, b string) int {
		return cmp.Or(cmp.Compare(counters[b], counters[a]), cmp.Compare(a, b))
	}
	for _, outcome := range slices.SortedFunc(maps.Keys(counters), busiestFirst) {
		t.row(outcome, fmt.Sprint(counters[outcome]))
	}
	return t.print(c.App.Writer)
}
