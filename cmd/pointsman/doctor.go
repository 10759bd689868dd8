package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane"
	"github.com/pointsman/pointsman/controlplane/decap"
	"github.com/pointsman/pointsman/controlplane/doctor"
	"github.com/pointsman/pointsman/dataplane/kernel"
)

// doctorDocument is what `doctor -o json` prints.
type doctorDocument struct {
	SchemaVersion int              `json:"schema_version"`
	Role          string           `json:"role"` // "balancer" or "backend"
	Config        string           `json:"config"`
	Findings      []doctor.Finding `json:"findings"`
	NotLookedAt   []string         `json:"not_looked_at"`
}

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "find what is wrong with this host, and the command that mends it",
		UsageText: `pointsman doctor [FLAGS]
pointsman doctor --backend [--vip ADDRESS|PREFIX...] [--from PREFIX...] [FLAGS]

Looks at the kernel, the interfaces, the ways to the backends and Consul, as the
file says, and changes nothing. It needs no daemon, and one that runs is not
disturbed. Each finding comes with a line to type as root; mend from above.

With --backend it looks at a host that answers for VIPs: those of --vip, those of
services in the file with an instance here, and those of the attached program.

It exits with 1 if anything keeps packets from being forwarded.

Examples:
  pointsman doctor
  pointsman doctor --config ./pointsman.hcl --exit-code -o json
  pointsman doctor --backend
  pointsman doctor --backend --vip 192.0.2.53 --no-program     # a service with forward = "l2"`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Value: defaultConfig, Usage: "read `FILE|DIR`; the usual one need not be there"},
			&cli.BoolFlag{Name: "backend", Usage: "this host is a backend"},
			&cli.StringSliceFlag{Name: "vip", Usage: "with --backend, it answers for the VIP with this `ADDRESS`, or for this prefix (repeatable)"},
			&cli.StringSliceFlag{Name: "from", Usage: "with --backend, balancers are in this `PREFIX` or have this address (repeatable)"},
			&cli.StringFlag{Name: "interface", Usage: "with --backend, the interface `NAME` that the balancer's packets arrive on (default: that of the default route)"},
			&cli.BoolFlag{Name: "no-program", Usage: "with --backend, it needs no program: forward = \"l2\", or the kernel's own tunnel devices"},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with 6 if there are only warnings"},
			pinDirFlag(),
			outputFlag(),
		},
		Action: func(c *cli.Context) error {
			if err := noPositionals(c); err != nil {
				return err
			}
			options, err := doctorOptions(c)
			if err != nil {
				return usageError{err, "pointsman doctor"}
			}
			facts, unseen, err := controlplane.Examine(c.Context, options)
			if err != nil {
				return fmt.Errorf("looking at this host: %w", err)
			}
			if facts.Program, facts.Rights, err = self(); err != nil {
				return err
			}
			if options.PinDir != defaultPinDir {
				facts.PinDir = options.PinDir
			}
			document := doctorDocument{1, "balancer", options.ConfigPath, doctor.Examine(facts), append([]string{}, unseen...)}
			if options.Backend != nil {
				document.Role = "backend"
			}
			return printDoctor(c, document)
		},
	}
}

func doctorOptions(c *cli.Context) (controlplane.ExamineOptions, error) {
	o := controlplane.ExamineOptions{
		ConfigPath: c.String("config"), Optional: !c.IsSet("config"), PinDir: c.String("pin-dir"), Kernel: examined{c.String("pin-dir")},
	}
	if !c.Bool("backend") {
		for _, flag := range []string{"vip", "from", "interface", "no-program"} {
			if c.IsSet(flag) {
				return o, fmt.Errorf("--%s goes with --backend", flag)
			}
		}
		return o, nil
	}
	o.Backend = &decap.Options{Interface: c.String("interface"), NoProgram: c.Bool("no-program")}
	return o, errors.Join(parseVIPs(c, o.Backend), parseBalancers(c, o.Backend))
}

// examined is the kernel as far as it has programs of ours.
type examined struct{ pinDir string }

func (e examined) ProgramsOn(iface string) ([]uint32, error) {
	return kernel.ProgramsOn(e.pinDir, iface)
}

func (e examined) LinkOf(program uint32) uint32 { return kernel.LinkOf(program) }

func (e examined) Decap(iface string) (known controlplane.DecapKnown, err error) {
	if known.Mode, err = kernel.DecapAttached(e.pinDir, iface); err != nil {
		return known, err
	}
	options := decap.Options{PinDir: e.pinDir, Interface: iface}
	if known.VIPs, known.Mappings, err = heldByDecap(options); err != nil {
		return known, err
	}
	if known.From, err = kernel.DecapFrom(e.pinDir, iface); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return known, err
}

// self is how this program was called, and which rights it has.
func self() (name string, rights doctor.Rights, err error) {
	effective, err := effectiveCapabilities()
	if err != nil {
		return "", rights, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	for _, c := range needed {
		rights.Needed = append(rights.Needed, c.name)
		if !has(effective, c.bit) {
			rights.Missing = append(rights.Missing, c.name)
			bounded, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c.bit), 0, 0, 0)
			rights.Bounded = rights.Bounded || err == nil && bounded == 0
		}
	}
	if rights.Path, err = os.Executable(); err != nil {
		rights.Path = os.Args[0]
	}
	return "pointsman", rights, nil
}

func printDoctor(c *cli.Context, d doctorDocument) error {
	if c.String("output") == "json" {
		if err := printJSON(c.App.Writer, d); err != nil {
			return err
		}
	} else if err := printFindings(c.App.Writer, c.App.ErrWriter, d); err != nil {
		return err
	}
	switch worst := doctor.Worst(d.Findings); {
	case worst == doctor.Failure:
		return codedError{code: exitFailure}
	case worst == doctor.Warning && c.Bool("exit-code"):
		return codedError{code: exitDegraded}
	}
	return nil
}

// printFindings has what to type below each finding.
func printFindings(w, messages io.Writer, d doctorDocument) error {
	for _, what := range d.NotLookedAt {
		fmt.Fprintf(messages, "not looked at: %s\n", what)
	}
	if len(d.Findings) == 0 {
		fmt.Fprintf(messages, "nothing is wrong with this %s\n", d.Role)
		return nil
	}
	t := newTable("LEVEL", "FINDING", "ABOUT", "WHAT")
	for _, f := range d.Findings {
		t.row(string(f.Level), string(f.Kind), f.About, f.What)
		t.headline("  # " + f.Mend)
		if f.Advice != "" {
			t.headline("    " + f.Advice)
		}
	}
	return t.print(w)
}
