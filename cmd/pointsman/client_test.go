package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden holds text against a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is other than printed; go test -update writes it anew. Got:\n%s\nwant:\n%s", path, got, want)
	}
}

// printed is what a printer prints of the drops.
func printed(t *testing.T, p dropPrinter) (out, messages string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p.out, p.messages = &stdout, &stderr
	p.now = func() time.Time { return noon }
	for _, d := range append([]api.Drop{{}}, dropped...) {
		if err = p.take(d); err != nil {
			break
		}
	}
	return stdout.String(), stderr.String(), err
}

func TestDropsAreLinesAsTheyCome(t *testing.T) {
	for _, row := range []struct {
		name    string
		printer dropPrinter
		err     error
	}{
		{"drops.txt", dropPrinter{}, nil},
		{"drops.json", dropPrinter{json: true}, nil},
		{"drops-rate.txt", dropPrinter{rate: 1}, nil},
		{"drops-rate.json", dropPrinter{rate: 1, json: true}, nil},
		{"drops-count.txt", dropPrinter{most: 2}, errEnough},
	} {
		out, messages, err := printed(t, row.printer)
		if !errors.Is(err, row.err) {
			t.Errorf("%s ends with %v", row.name, err)
		}
		golden(t, row.name, out+"---- stderr\n"+messages)
	}
}

// listed turns the scene into what the API lists.
func listed() (services api.Services, backends api.Backends) {
	for _, s := range (scene{}).Services() {
		services.Services = append(services.Services, s.Service)
		backends.Services = append(backends.Services, s)
	}
	return services, backends
}

func TestTables(t *testing.T) {
	services, backends := listed()
	var out bytes.Buffer
	for name, print := range map[string]func() error{
		"services.txt":      func() error { return printServices(&out, services, noon) },
		"backends.txt":      func() error { return printBackends(&out, backends, false, noon) },
		"backends-wide.txt": func() error { return printBackends(&out, backends, true, noon) },
		"status.txt":        func() error { return printStatusPage(&out, scene{"degraded"}.Status(), noon) },
		"status-stale.txt":  func() error { return printStatusPage(&out, stale(scene{"degraded"}.Status()), noon) },
		"flows.txt":         func() error { return printFlows(&out, connected, noon) },
		"flows-none.txt":    func() error { return printFlows(&out, api.Flows{Capacity: 262144}, noon) },
		"plan.txt":          func() error { return printPlan(&out, &out, changing) },
		"plan-nothing.txt":  func() error { return printPlan(&out, &out, api.Plan{Path: "/etc/pointsman/pointsman.hcl"}) },
		"overrides.txt":     func() error { return printOverrides(&out, api.Overrides{Overrides: wished}, noon) },
		"events.txt":        func() error { return printEvents(&out, api.Events{Events: happened}) },
		"explain.txt":       func() error { return printExplanation(&out, moving) },
		"services-stale.txt": func() error {
			services.Services[1].StaleSince = services.Services[1].ViewConfirmed
			defer func() { services.Services[1].StaleSince = nil }()
			return printServices(&out, services, noon)
		},
	} {
		out.Reset()
		if err := print(); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.String())
	}
}

// stale is a status while Consul says nothing.
func stale(s api.Status) api.Status {
	since := noon.Add(-3 * time.Hour)
	s.Consul.State, s.Consul.StaleSince = "stale", &since
	return s
}

func TestReload(t *testing.T) {
	for name, row := range map[string]struct {
		state string
		code  int
	}{"reload.txt": {"ok", exitOK}, "reload-mistakes.txt": {"degraded", exitInvalid}} {
		code, stdout, stderr := command(t, "reload --socket "+daemon(t, row.state))
		if code != row.code {
			t.Errorf("it exits with %d, want %d", code, row.code)
		}
		golden(t, name, stdout+stderr)
	}
	_, stdout, _ := command(t, "reload -o json --socket "+daemon(t, "degraded"))
	golden(t, "reload-mistakes.json", stdout)
}

func TestHelp(t *testing.T) {
	_, stdout, _ := command(t, "--help")
	golden(t, "help.txt", stdout)
	for name := range leaves(newApp(nil, nil, nil).Commands) {
		code, stdout, stderr := command(t, name+" --help")
		if code != exitOK || stderr != "" || !strings.Contains(stdout, "Example") {
			t.Errorf("%s --help exits with %d, stderr %q, and has an example: %v", name, code, stderr, strings.Contains(stdout, "Example"))
		}
		golden(t, "help-"+strings.ReplaceAll(name, " ", "-")+".txt", stdout)
	}
}

// daemon answers with the scene on a socket.
func daemon(t *testing.T, state string) (socket string) {
	socket = filepath.Join(t.TempDir(), "s.sock")
	listener, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- api.Serve(ctx, listener, scene{state}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return socket
}

func TestExitCodes(t *testing.T) {
	degraded, ok := daemon(t, "degraded"), daemon(t, "ok")
	nobody := filepath.Join(t.TempDir(), "nobody.sock")
	bad := filepath.Join(t.TempDir(), "bad.hcl")
	if err := os.WriteFile(bad, []byte("interfaces = [\"lo\"]\nintervaces = 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		promise, line string
		code          int
		stderr        string
	}{
		{"what works exits with 0", "status --socket " + ok, exitOK, ""},
		{"what is degraded is told apart on request only", "status --socket " + degraded, exitOK, ""},
		{"and then exits with 6", "status --brief --exit-code --socket " + degraded, exitDegraded, ""},
		{"while what is well does not", "status --exit-code --socket " + ok, exitOK, ""},
		{"a service that is not there exits with 4", "backends wbe --socket " + ok, exitNotFound, `there is no service "wbe"`},
		{"no daemon exits with 3", "services --socket " + nobody, exitUnreachable, "Is it running?"},
		{"a file with mistakes exits with 5", "check " + bad, exitInvalid, "bad.hcl:2:1: unknown key"},
		{"also as JSON", "check -o json " + bad, exitInvalid, ""},
		{"a file that is not there, too", "check /nowhere.hcl", exitInvalid, "/nowhere.hcl"},
		{"taking away what is not there is no failure", "detach --pin-dir " + filepath.Join(t.TempDir(), "none"), exitOK, "nothing to remove"},
		{"drops of a reason that there is not exit with 4", "drops --reason DROP_IT --socket " + ok, exitNotFound, "not dropped for DROP_IT"},
		{"as many as were asked for are enough", "drops --count 2 --socket " + ok, exitOK, "watching drops"},
		{"nobody to tell of drops exits with 3", "drops --socket " + nobody, exitUnreachable, "Is it running?"},
		{"a list of connections exits with 0", "flows --client 198.51.100.7 --socket " + ok, exitOK, ""},
		{"one to no VIP with 2", "flows --vip web --socket " + ok, exitUsage, "is no VIP"},
		{"one of less than nothing, too", "flows --limit -1 --socket " + ok, exitUsage, "nothing negative"},
		{"a plan with changes exits with 8", "plan --socket " + ok, exitChanges, "warning: limits changed"},
		{"one without exits with 0", "plan --socket " + daemon(t, "settled"), exitOK, ""},
		{"one of a file with mistakes exits with 5", "plan --socket " + degraded, exitInvalid, "unknown key"},
		{"an explanation exits with 0", "explain tcp 198.51.100.7:40000 192.0.2.10:443 --socket " + ok, exitOK, ""},
		{"of what is for no VIP with 4", "explain tcp 198.51.100.7:40000 192.0.2.10:80 --socket " + ok, exitNotFound, "is no VIP"},
		{"an explanation of half a flow exits with 2", "explain tcp 192.0.2.10:80 --socket " + ok, exitUsage, "a protocol, a client and a VIP"},
		{"one of no flow exits with 1", "explain tcp 198.51.100.7 192.0.2.10:80 --socket " + ok, exitFailure, "is not ADDRESS:PORT"},
		{"a drain that is taken exits with 0", "drain web 10.20.0.14 --reason test --socket " + ok, exitOK, ""},
		{"one of nobody exits with 4", "drain web 10.20.0.1 --socket " + ok, exitNotFound, "did you mean 10.20.0.14:443?"},
		{"one that does not end in time exits with 7", "drain web 10.20.0.14 --wait --timeout 1ms --socket " + ok, exitTimeout, "still has 21845 slots and 33 remembered flows"},
		{"a drain that is taken back exits with 0", "undrain web 10.20.0.14 --socket " + ok, exitOK, ""},
		{"a backend that is disabled exits with 0", "disable web 10.20.0.14 --ttl 5m --socket " + ok, exitOK, ""},
		{"one that is not there with 4", "disable web 10.20.0.1 --socket " + ok, exitNotFound, "did you mean"},
		{"enabling it again exits with 0", "enable web 10.20.0.14 --socket " + ok, exitOK, ""},
		{"a weight exits with 0", "weight web 10.20.0.14 7 --socket " + ok, exitOK, ""},
		{"half of one with 2", "weight web 10.20.0.14 --socket " + ok, exitUsage, "weight takes a service"},
		{"one that is no number, too", "weight web 10.20.0.14 heavy --socket " + ok, exitUsage, "is not a weight"},
		{"overrides exit with 0", "overrides --socket " + ok, exitOK, ""},
		{"clearing what is not there is no failure", "overrides mail --clear --socket " + ok, exitOK, "nothing to clear"},
		{"overrides of too much exit with 2", "overrides web 10.20.0.14 now --socket " + ok, exitUsage, "too many"},
		{"one that cannot be exits with 1", "undrain web 10.20.0.12 --socket " + ok, exitFailure, "no operator drains 10.20.0.12"},
		{"a reload of a file with mistakes exits with 5", "reload --socket " + degraded, exitInvalid, "pointsman.hcl:10:3: unknown key"},
		{"also as JSON", "reload -o json --socket " + degraded, exitInvalid, ""},
		{"a reload without a daemon exits with 3", "reload --socket " + nobody, exitUnreachable, "Is it running?"},
		{"version needs no daemon", "version", exitOK, ""},
	} {
		t.Run(row.promise, func(t *testing.T) {
			code, _, stderr := command(t, row.line)
			if code != row.code || !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
				t.Errorf("%s: exit %d, stderr %q; want %d, %q", row.line, code, stderr, row.code, row.stderr)
			}
		})
	}
}
