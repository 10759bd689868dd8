package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unit is packaging/pointsman.service by section and key.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	settings := map[string][]string{}
	section := ""
	for line := range strings.Lines(read(t, "packaging/pointsman.service")) {
		line = strings.TrimSpace(line)
		key, value, given := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case given && !strings.HasPrefix(line, "#"):
			settings[section+" "+key] = append(settings[section+" "+key], strings.Fields(value)...)
		}
	}
	return settings
}

func TestTheUnitKeepsItsPromises(t *testing.T) {
	u := unit(t)
	for setting, want := range map[string]string{
		"Service Type":                     "notify", // systemd 252 does not know notify-reload
		"Service CapabilityBoundingSet":    "CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_NET_RAW",
		"Service SystemCallFilter":         "@system-service bpf perf_event_open",
		"Service ReadWritePaths":           "/sys/fs/bpf",
		"Service ProtectKernelTunables":    "no", // else bpffs is read-only
		"Service RuntimeDirectory":         "pointsman",
		"Service RuntimeDirectoryPreserve": "restart",
		"Service StateDirectory":           "pointsman",
		"Service StateDirectoryMode":       "0700",
		"Unit After":                       "network-online.target consul.service",
	} {
		if got := strings.Join(u[setting], " "); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	for _, binding := range []string{"Requires", "Requisite", "BindsTo", "PartOf"} {
		if slices.Contains(u["Unit "+binding], "consul.service") {
			t.Errorf("%s= lets the balancer end with Consul", binding)
		}
	}
	if kept := u["Service RestartPreventExitStatus"]; kept != nil || u["Service Restart"][0] != "on-failure" {
		t.Errorf("a daemon that panics, or that the watchdog ends, exits with 2 and must be started again, not kept down by %q", kept)
	}
	if u["Service WatchdogSec"] == nil {
		t.Error("a daemon that hangs is not replaced")
	}
}

// analyze runs systemd-analyze on the unit, whose program need not be installed.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here; Debian has it in the package systemd")
	}
	path := filepath.Join(t.TempDir(), "pointsman.service")
	text := strings.ReplaceAll(read(t, "packaging/pointsman.service"), "/usr/local/bin/pointsman", "/bin/true")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, append(args, path)...).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestSystemdHasNothingToSayAgainstTheUnit(t *testing.T) {
	if said := analyze(t, "verify", "--man=no"); said != "" {
		t.Errorf("it says:\n%s", said)
	}
}

func TestTheUnitIsAsTightAsTheREADMESays(t *testing.T) {
	claim := regexp.MustCompile(`exposure level of ([0-9]+\.[0-9]+)`).FindStringSubmatch(read(t, "README.md"))
	if claim == nil {
		t.Fatal("it says nothing")
	}
	said := analyze(t, "security", "--offline=true", "--no-pager")
	level := regexp.MustCompile(`exposure level for pointsman.service: ([0-9.]+)`).FindStringSubmatch(said)
	if level == nil {
		t.Fatalf("systemd-analyze says:\n%s", said)
	}
	promised, _ := strconv.ParseFloat(claim[1], 64)
	measured, _ := strconv.ParseFloat(level[1], 64)
	if measured > promised || measured == 0 {
		t.Errorf("the exposure level is %s, and should be %s at most", level[1], claim[1])
	}
}

// byID are calls that take CAP_SYS_ADMIN, which the unit has not got.
var byID = regexp.MustCompile(`\.(\w+FromID|\w+NextID|Handle)\(`)

func TestNothingIsOpenedByID(t *testing.T) {
	files, err := filepath.Glob("../dataplane/kernel/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no files", err)
	}
	for _, path := range files {
		// Maps of builds that left no notes of their types can be read in no other way.
		if strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "generation.go" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if call := byID.Find(text); call != nil {
			t.Errorf("%s has %s…), for which the unit's rights do not suffice: open pins", path, call)
		}
	}
}
