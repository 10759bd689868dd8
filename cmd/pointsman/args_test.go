package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// leaves walks the command tree.
func leaves(commands []*cli.Command, path ...string) map[string]*cli.Command {
	all := map[string]*cli.Command{}
	for _, c := range commands {
		here := append(slices.Clone(path), c.Name)
		if len(c.Subcommands) == 0 {
			all[strings.Join(here, " ")] = c
		}
		for name, sub := range leaves(c.Subcommands, here...) {
			all[name] = sub
		}
	}
	return all
}

// fitting are values for flags that do not take every word.
var fitting = map[string]string{"output": "json", "log-format": "json", "on-exit": "detach", "timeout": "7s", "linger": "5s", "ttl": "7s", "duration": "7s", "interval": "7s", "sort": "name"}

// spelled is a flag as a user writes it, with a value that fits.
func spelled(name, flag string, takesValue bool) []string {
	if !takesValue {
		return []string{dashed(flag)}
	}
	value := fitting[name]
	if value == "" {
		value = "7"
	}
	return []string{dashed(flag), value}
}

func TestFlagsCountWhereverTheyStand(t *testing.T) {
	for name := range leaves(newApp(nil, nil, nil).Commands) {
		command := leaves(newApp(nil, nil, nil).Commands)[name]
		for _, flag := range command.Flags {
			for _, spelling := range flag.Names() {
				words := spelled(flag.Names()[0], spelling, takesValue(flag))
				line := slices.Concat([]string{"pointsman"}, strings.Fields(name), []string{"one"}, words, []string{"--", "--two"})
				t.Run(strings.Join(line, " "), func(t *testing.T) { assertHeard(t, line, name, flag.Names()[0]) })
			}
		}
	}
}

// assertHeard runs a command line whose command only looks at what it is given.
func assertHeard(t *testing.T, line []string, name, flag string) {
	var stderr bytes.Buffer
	app := newApp(nil, &stderr, &stderr)
	ran := false
	leaves(app.Commands)[name].Action = func(c *cli.Context) error {
		ran = true
		if !c.IsSet(flag) {
			t.Errorf("the flag after a positional was not heard")
		}
		if got := c.Args().Slice(); !slices.Equal(got, []string{"one", "--two"}) {
			t.Errorf("the positionals are %q", got)
		}
		return nil
	}
	arranged, err := arrange(app, line)
	if err != nil {
		t.Fatal(err)
	}
	if err := app.RunContext(context.Background(), arranged); err != nil {
		t.Fatal(err)
	}
	if !ran {
		t.Errorf("the command did not run: %s", stderr.String())
	}
}

func TestWhatIsNotUnderstoodExitsWith2(t *testing.T) {
	for _, row := range []struct{ line, says string }{
		{"bakends", `unknown command "bakends", did you mean "backends"?`},
		{"frobnicate", `unknown command "frobnicate"` + "\n"},
		{"backends --wied", `unknown flag "--wied", did you mean "--wide"?`},
		{"backends web --outptu json", `unknown flag "--outptu", did you mean "--output"?`},
		{"--socket x status", `unknown flag "--socket"`},
		{"status web", `status takes no arguments, got ["web"]`},
		{"backends web dns", `too many arguments: ["dns"]`},
		{"drain web", `drain takes a service and the address of a backend, got ["web"]`},
		{"undrain web 10.20.0.11 now", `undrain takes a service and the address of a backend, got ["web" "10.20.0.11" "now"]`},
		{"drain web 10.20.0.11 --ttl soon", `invalid value "soon"`},
		{"drain web 10.20.0.11 --timeout -1s", `no negative duration`},
		{"status -o", `flag -o needs a value`},
		{"services -o yaml", `-o takes table or json`},
		{"capture", `say with -w where to write to`},
		{"capture -w - --count -1", `nothing negative`},
		{"capture -w - --snaplen 0", `--snaplen takes 1 to 9216`},
		{"capture -w - --vip web", `"web" is no VIP: write 192.0.2.10`},
		{"capture -w - --client 198.51.100.7:1", `"198.51.100.7:1" is no client`},
		{"capture -w - --interface nowhere0", `there is no interface "nowhere0"`},
		{"drops --rate -1", `--rate and --count take nothing negative`},
		{"drops --vip 192.0.2.10:http", `"192.0.2.10:http" is no VIP`},
		{"drops web", `drops takes no arguments`},
		{"run --on-exit explode", `--on-exit takes keep or detach`},
		{"top --sort age", `--sort takes flows, packets, bits, name or state`},
		{"top --interval 1ms", `--interval takes 100ms to 1h`},
		{"completion tcsh", `completion takes bash, zsh or fish`},
		{"man bash", `man takes no arguments`},
		{"run --log-format xml", `--log-format takes text or json`},
		{"status --brief=maybe", `invalid boolean value`},
	} {
		t.Run(row.line, func(t *testing.T) {
			code, stdout, stderr := command(t, row.line)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, row.says) {
				t.Errorf("exit %d, stdout %q, stderr %q; want %d and %q", code, stdout, stderr, exitUsage, row.says)
			}
			if !strings.Contains(stderr, "--help'") {
				t.Errorf("stderr does not say where there is help: %q", stderr)
			}
		})
	}
}

// command runs a line without a process.
func command(t *testing.T, line string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), append([]string{"pointsman"}, strings.Fields(line)...), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}
