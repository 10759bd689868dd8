package stories

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/test/lab"
)

// mistaken has every kind of mistake there is an operator's promise about.
const mistaken = `interfaces = ["eth0", "eth7"]
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
state_dir  = "{{state}}"
consul { address = "{{consul}}" }

service "web" {
  lisen  = ["192.0.2.9:80/tcp"]
  listen = ["192.0.2.1:80/tcp", "198.51.100.99:80/tcp"]
  backend "{{v4 1}}" {}
  backend "{{v4 2}}:8080" {}
}
service "shop" {
  listen = ["192.0.2.1:80/tcp", "192.0.2.300:80/tcp"]
  backend "192.0.2.1" {}
}
service "found" {
  listen = ["192.0.2.3:80/tcp"]
  consul { filter = "Service.Port ==" }
}
`

// mistakes are those of the file above: where each is, as the text that its
// position points at, and what is said about it.
var mistakes = []struct{ kind, at, summary, advice string }{
	{"a missing interface", `"eth7"`, `this host has no interface "eth7"`, "eth0"},
	{"an unknown key", `lisen `, `unknown key "lisen"`, `did you mean "listen"?`},
	{"a VIP outside the pools", `"198.51.100.99:80/tcp"`, "lies in none of the vip_pools", "the pools are 192.0.2.0/24"},
	{"another port than the VIP's under ipip", `"198.51.100.12:8080"`, "is on another port than VIP 192.0.2.1:80/tcp", "leave out :8080"},
	{"the same VIP twice", `"192.0.2.1:80/tcp", "192.0.2.300`, `two owners, services "web" and "shop"`, "one of them must let go"},
	{"an address that cannot be parsed", `"192.0.2.300:80/tcp"`, `"192.0.2.300" is not an IP address`, "a range is 8000-8999, any port *, a prefix 192.0.2.0/24"},
	{"a backend that is a VIP", `"192.0.2.1" {}`, "backend 192.0.2.1 of service \"shop\" is a VIP", "round in a circle"},
	{"a filter that Consul does not take", `"Service.Port =="`, `service "found"`, "filter"},
}

// place is the position of a text in a file, as an editor counts.
func (s *stage) place(file, text, at string) config.Position {
	s.t.Helper()
	before, _, found := strings.Cut(text, at)
	if !found {
		s.t.Fatalf("%q is not in the file", at)
	}
	return config.Position{File: file, Line: strings.Count(before, "\n") + 1, Column: len(before) - strings.LastIndex(before, "\n")}
}

func TestPrivilegedAConfigurationWithMistakesChangesNothingAndSaysThemAll(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1, 2, 3)
	s.must(s.StartConsul(t.Context(), t.Logf))
	s.begin(unprobed)
	asking := s.keepAsking(allVIPs...)
	before := s.standing()

	text := s.fill(strings.NewReplacer("{{state}}", s.StateDir(), "{{consul}}", s.Consul.HTTP).Replace(mistaken))
	s.must(s.Configure(text))
	t.Run("check prints every mistake with its place and what to do", func(t *testing.T) {
		s := s.in(t)
		document := s.check()
		for _, m := range mistakes {
			s.reported(document, s.place(s.ConfigPath(), text, m.at), m.kind, m.summary, m.advice)
		}
		if len(document.Mistakes) != len(mistakes) {
			t.Errorf("%d mistakes are reported, %d are there:\n%v", len(document.Mistakes), len(mistakes), document.Mistakes)
		}
	})
	t.Run("status says them after a reload", func(t *testing.T) {
		s := s.in(t)
		s.must(s.Reload())
		s.awaitWarning("the configuration was not taken, the one before goes on")
		said := s.status().Config.Error
		for _, m := range mistakes {
			if place := s.place(s.ConfigPath(), text, m.at).String(); !strings.Contains(said, place) {
				t.Errorf("%s at %s is not in %s", m.kind, place, said)
			}
		}
	})
	t.Run("nothing that runs has changed", func(t *testing.T) {
		s := s.in(t)
		if now := s.standing(); !reflect.DeepEqual(now, before) {
			t.Errorf("before: %+v\nnow: %+v", before, now)
		}
		for _, vip := range allVIPs {
			s.allAnswered(vip, s.ask(vip, 100))
		}
	})
	t.Run("the mended file is taken", func(t *testing.T) {
		s := s.in(t)
		s.reload(unprobed + shop)
		s.allAnswered("the new service", s.ask("http 192.0.2.3:80", 50))
	})
	s.nothingLost(asking.finish())
}

// standing is what a configuration that is not taken must leave as it is.
type standing struct {
	Applied  time.Time
	Loaded   time.Time
	Program  uint32
	Backends map[string][]string // with slots and next hop
}

func (s *stage) standing() standing {
	s.t.Helper()
	status := s.status()
	now := standing{status.LastApply.At, status.Config.Loaded, 0, map[string][]string{}}
	link, err := s.Lab.Balancer.Links().LinkByName("eth0")
	s.must(err)
	if xdp := link.Attrs().Xdp; xdp != nil {
		now.Program = xdp.ProgId
	}
	all, err := s.Backends(s.t.Context())
	s.must(err)
	for _, service := range all.Services {
		for _, b := range service.Backends {
			now.Backends[service.Name] = append(now.Backends[service.Name], fmt.Sprintf("%s %s weight %d slots %d by %s since %s", b.Address, b.State, b.Weight, b.Slots, b.NextHop, b.Since))
		}
	}
	return now
}

// checked is what pointsman check -o json prints.
type checked struct {
	Valid    bool
	Mistakes config.Errors
}

func (s *stage) check() checked {
	s.t.Helper()
	out, err := s.Run(s.t.Context(), "check", "--consul", "-o", "json", s.ConfigPath())
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 {
		s.t.Errorf("check ended with %v, want exit code 5", err)
	}
	var document checked
	s.must(json.Unmarshal(out, &document))
	if document.Valid {
		s.t.Error("check calls the file valid")
	}
	return document
}

func (s *stage) reported(document checked, at config.Position, kind, summary, advice string) {
	s.t.Helper()
	for _, m := range document.Mistakes {
		if m.Position == at && strings.Contains(m.Summary, summary) && strings.Contains(m.Detail, advice) {
			return
		}
	}
	s.t.Errorf("%s at %s is not reported with %q and %q:\n%v", kind, at, summary, advice, document.Mistakes)
}

func TestPrivilegedADaemonDoesNotStartWithMistakesAndSaysThem(t *testing.T) {
	s := open(t, lab.Options{Backends: 2}, 1)
	s.configure(strings.Replace(web, "listen", "lisen", 1))
	s.must(s.Start())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-s.Daemon.Done():
	case <-ctx.Done():
		t.Fatal("the daemon runs on")
	}
	var exit *exec.ExitError
	if err := s.Daemon.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("it ended with %v, want exit code 5", err)
	}
	if log := s.Log(); !strings.Contains(log, `did you mean "listen"?`) {
		t.Errorf("it said:\n%s", log)
	}
	if attached := s.programs(); len(attached) > 0 {
		t.Errorf("it attached to %v", attached)
	}
}
