package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/pointsman/pointsman/controlplane/api"
)

// call is how a command is called in the scenes: with which arguments, and the exit
// codes of scenes in which it is not 0.
type call struct {
	args  string
	codes map[string]int
	// hosts says why a command is not asked of a scene: it is about this host, and has
	// tests of its own.
	hosts string
	free  bool // what it prints is another's on each machine, or the same in all scenes
}

var nobody = map[string]int{"empty": exitNotFound}

// calls are all commands. A new one must say here how it is called.
var calls = map[string]call{
	"run":        {hosts: "it is the daemon"},
	"check":      {hosts: "it reads a file"},
	"plan":       {codes: map[string]int{"ok": exitChanges, "degraded": exitInvalid}},
	"reload":     {codes: map[string]int{"degraded": exitInvalid}},
	"status":     {},
	"services":   {},
	"backends":   {},
	"top":        {args: "--interval 100ms"},
	"explain":    {args: "tcp 198.51.100.7:40000 192.0.2.10:443", codes: nobody},
	"flows":      {},
	"drain":      {args: "web 10.20.0.14", codes: nobody},
	"undrain":    {args: "web 10.20.0.14", codes: nobody},
	"disable":    {args: "web 10.20.0.14", codes: nobody},
	"enable":     {args: "web 10.20.0.14", codes: nobody},
	"weight":     {args: "web 10.20.0.14 7", codes: nobody},
	"overrides":  {},
	"events":     {},
	"drops":      {args: "--count 2"},
	"capture":    {hosts: "it asks the program"},
	"doctor":     {hosts: "it looks at the host"},
	"decap":      {hosts: "it is for a backend"},
	"detach":     {hosts: "it is for what no daemon holds"},
	"completion": {args: "bash", free: true},
	"man":        {free: true},
	"version":    {free: true},
	"__complete": {args: "-- und", free: true},
}

func TestEveryCommandSaysHowItIsCalled(t *testing.T) {
	tree := leaves(newApp(nil, nil, nil).Commands)
	for name := range tree {
		if _, known := calls[name]; !known {
			t.Errorf("%s is not among the calls of this file: say how it is called, and run with -update", name)
		}
	}
	for name := range calls {
		if tree[name] == nil {
			t.Errorf("there is no command %s", name)
		}
	}
}

// asked are the commands that ask a daemon.
func asked(t *testing.T, do func(name string, c call, flags []cli.Flag)) {
	clock = func() time.Time { return noon }
	t.Cleanup(func() { clock = time.Now })
	t.Setenv("SUDO_USER", "")
	for name, c := range leaves(newApp(nil, nil, nil).Commands) {
		if calls[name].hosts == "" && !calls[name].free {
			do(name, calls[name], c.Flags)
		}
	}
}

func takes(flags []cli.Flag, name string) bool {
	return slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// asIf runs a command against a scene, and returns all that came of it but for where
// the socket is and who asked.
func asIf(t *testing.T, socket string, words ...string) (code int, stdout, stderr string) {
	t.Helper()
	code, stdout, stderr = command(t, strings.Join(words, " "))
	steady := func(text string) string {
		return operator.ReplaceAllString(strings.ReplaceAll(text, socket, "SOCKET"), `"by": "me"`)
	}
	return code, steady(stdout), steady(stderr)
}

var operator = regexp.MustCompile(`"by": "[^"]+"`)

// Tables and messages are golden files, and so is the JSON of one scene; of the
// others it must be a document with a version.
func TestEveryCommandInEveryScene(t *testing.T) {
	for _, state := range []string{"ok", "degraded", "empty", "crowd"} {
		socket := daemon(t, state)
		asked(t, func(name string, c call, flags []cli.Flag) {
			t.Run(name+" "+state, func(t *testing.T) {
				want := c.codes[state]
				code, stdout, stderr := asIf(t, socket, name, "--socket", socket, c.args)
				if code != want {
					t.Errorf("it exits with %d, want %d: %s", code, want, stderr)
				}
				golden(t, filepath.Join("tree", name+"-"+state+".txt"), fmt.Sprintf("exit %d\n---- stdout\n%s---- stderr\n%s", code, elided(stdout), elided(stderr)))
				if !takes(flags, "output") {
					t.Error("it has no -o")
				}
				code, stdout, _ = asIf(t, socket, name, "--socket", socket, c.args, "-o json")
				if code != want {
					t.Errorf("with -o json it exits with %d", code)
				}
				assertVersioned(t, stdout, want)
				if state == "ok" {
					golden(t, filepath.Join("tree", name+".json"), stdout)
				}
			})
		})
	}
}

// assertVersioned holds that what is printed is JSON, a document or a line each. Only
// a command that failed may print none.
func assertVersioned(t *testing.T, text string, code int) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	documents := 0
	for decoder.More() {
		var document struct {
			SchemaVersion int `json:"schema_version"`
		}
		if err := decoder.Decode(&document); err != nil || document.SchemaVersion != 1 {
			t.Fatalf("a document has version %d, %v: %s", document.SchemaVersion, err, text)
		}
		documents++
	}
	if documents == 0 && code == exitOK {
		t.Error("it prints no JSON")
	}
}

// elided leaves out the midst of what is long, and says how much.
func elided(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) < 40 {
		return text
	}
	return strings.Join(lines[:6], "") + fmt.Sprintf("… %d lines …\n", len(lines)-9) + strings.Join(lines[len(lines)-3:], "")
}

func TestEveryCommandTakesFlagsBeforeAndAfterItsArguments(t *testing.T) {
	socket := daemon(t, "ok")
	asked(t, func(name string, c call, _ []cli.Flag) {
		code, before, _ := asIf(t, socket, name, "--socket", socket, "-o json", c.args)
		for _, line := range [][]string{{name, c.args, "--socket=" + socket, "--output", "json"}, {name, "-o=json", c.args, "--socket", socket}} {
			if again, after, stderr := asIf(t, socket, line...); again != code || after != before {
				t.Errorf("%s exits with %d rather than %d and prints\n%s%s\nrather than\n%s", strings.Join(line, " "), again, code, after, stderr, before)
			}
		}
	})
}

func TestEveryCommandSaysWhenNoDaemonAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "nobody.sock")
	asked(t, func(name string, c call, _ []cli.Flag) {
		for _, output := range []string{"table", "json"} {
			code, stdout, stderr := asIf(t, socket, name, "--socket", socket, c.args, "-o", output)
			if code != exitUnreachable || stdout != "" || !strings.Contains(stderr, "no daemon answers on SOCKET") || !strings.Contains(stderr, "Is it running?") {
				t.Errorf("%s exits with %d, stdout %q, stderr %q", name, code, stdout, stderr)
			}
		}
	})
}

func TestEveryCommandRefusesWhatItDoesNotKnow(t *testing.T) {
	for name, c := range leaves(newApp(nil, nil, nil).Commands) {
		for _, line := range []string{name + " --frobnicate", name + " --hepl"} {
			code, stdout, stderr := command(t, line)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, "unknown flag") || !strings.Contains(stderr, "Try 'pointsman "+name+" --help'.") {
				t.Errorf("%s: exit %d, stdout %q, stderr %q", line, code, stdout, stderr)
			}
		}
		if c.Hidden || name == "run" || name == "decap" {
			continue // which begin to work before they could object
		}
		code, stdout, stderr := command(t, name+" one two three four five --socket /nowhere")
		if !takes(c.Flags, "socket") {
			code, stdout, stderr = command(t, name+" one two three four five")
		}
		if code != exitUsage || stdout != "" || stderr == "" {
			t.Errorf("%s with five arguments exits with %d, stdout %q, stderr %q", name, code, stdout, stderr)
		}
	}
}

// No colour and no control character, whoever reads it.
func TestNoCommandPrintsControlCharactersIntoAPipe(t *testing.T) {
	control := regexp.MustCompile(`[^\P{C}\n]`)
	for _, state := range []string{"ok", "empty"} {
		socket := daemon(t, state)
		asked(t, func(name string, c call, _ []cli.Flag) {
			_, stdout, stderr := asIf(t, socket, name, "--socket", socket, c.args)
			if found := control.FindString(stdout + stderr); found != "" {
				t.Errorf("%s prints %q", name, found)
			}
		})
	}
}

// crowd are 1,000 services of three backends.
func crowd() (all []api.ServiceBackends) {
	for n := range 1000 {
		s := api.ServiceBackends{Service: api.Service{Name: fmt.Sprintf("service-%04d", n), Listen: []string{fmt.Sprintf("192.0.%d.%d:443/tcp", 2+n/250, 1+n%250)},
			Forward: "ipip", State: "ok", Since: noon.Add(-time.Hour), BackendsUp: 3, BackendsTotal: 3, Rates: api.Rates{NewFlows: float64(n), Packets: float64(40 * n), Bits: float64(400000 * n)}}}
		if n == 0 {
			s.Name = "web"
		}
		for i := range 3 {
			s.Backends = append(s.Backends, api.Backend{Address: fmt.Sprintf("10.%d.%d.%d:443", 20+i, n/250, 1+n%250), Weight: 1, State: "up", Since: noon.Add(-time.Hour),
				Slots: 21845, Source: "consul", NewFlows: uint64(n), Packets: uint64(40 * n), Bytes: uint64(50000 * n)})
		}
		all = append(all, s)
	}
	return all
}

func crowdStatus() api.Status {
	return api.Status{SchemaVersion: 1, State: "ok", Version: "1.0", PID: 4242, Started: noon.Add(-time.Hour), Warnings: []string{},
		Config: api.ConfigStatus{Path: "/etc/pointsman/pointsman.hcl", Loaded: noon.Add(-time.Hour)}, Interfaces: []api.Interface{{Name: "eth0", Mode: "native"}},
		Services: api.ServiceCounts{OK: 1000}, Outcomes: map[string]uint64{"FORWARD": 1 << 40}}
}
