package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/config"
)

// calls runs a script of the packages where systemctl and the others only note that
// they were called, and returns what they noted.
func calls(t *testing.T, script string, fails string, args ...string) (noted, said string) {
	t.Helper()
	dir := t.TempDir()
	journal := filepath.Join(dir, "journal")
	for _, name := range []string{"systemctl", "pointsman", "systemd-sysusers", "systemd-tmpfiles", "rm", "rmdir"} {
		stub := "#!/bin/sh\necho " + name + " \"$@\" >>" + journal + "\n[ \"" + name + " $1\" != \"" + fails + "\" ] || { echo it fails; exit 1; }\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(stub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The script asks for systemd and for decap's notes at places that a test has not got.
	text := strings.NewReplacer("/run/systemd/system", dir, "/var/lib/pointsman/decap.json", journal).Replace(read(t, "packaging/scripts/"+script))
	cmd := exec.Command("/bin/sh", append([]string{"-c", text, script}, args...)...)
	cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v: %s", script, strings.Join(args, " "), err, out)
	}
	lines, _ := os.ReadFile(journal)
	return strings.ReplaceAll(strings.TrimSpace(string(lines)), "\n", "; "), string(out)
}

func TestScriptsOfThePackagesDoWhatDpkgAndRPMMean(t *testing.T) {
	const (
		settle  = "systemd-sysusers pointsman.conf; systemd-tmpfiles --create pointsman.conf; systemctl daemon-reload; systemctl try-restart pointsman.service"
		takeOff = "systemctl disable --now pointsman.service; pointsman detach; pointsman decap --off"
	)
	for _, row := range []struct {
		promise, script string
		args            []string
		want            string
	}{
		{"a first installation starts nothing that does not run", "postinstall.sh", []string{"configure", ""}, settle},
		{"an upgrade by dpkg restarts what runs", "postinstall.sh", []string{"configure", "1.0"}, settle},
		{"a first installation by rpm", "postinstall.sh", []string{"1"}, settle},
		{"an upgrade by rpm", "postinstall.sh", []string{"2"}, settle},
		{"an upgrade that dpkg gives up changes nothing", "postinstall.sh", []string{"abort-upgrade", "1.0"}, ""},
		{"the old package does nothing on an upgrade by dpkg", "preremove.sh", []string{"upgrade", "2.0"}, ""},
		{"nor by rpm, where one version is left", "preremove.sh", []string{"1"}, ""},
		{"removal by dpkg ends the daemon and forwarding", "preremove.sh", []string{"remove"}, takeOff},
		{"removal by rpm, where none is left", "preremove.sh", []string{"0"}, takeOff},
		{"the files of an old package go on an upgrade", "postremove.sh", []string{"upgrade", "2.0"}, "systemctl daemon-reload"},
		{"removal keeps what the daemon has learned", "postremove.sh", []string{"remove"}, "systemctl daemon-reload"},
		{"a purge does not", "postremove.sh", []string{"purge"}, "rm -rf /var/lib/pointsman /run/pointsman; rmdir --ignore-fail-on-non-empty /etc/pointsman; systemctl daemon-reload"},
		{"removal by rpm keeps it", "postremove.sh", []string{"0"}, "systemctl daemon-reload"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			if got, _ := calls(t, row.script, "", row.args...); got != row.want {
				t.Errorf("it does %q, want %q", got, row.want)
			}
		})
	}
}

func TestWhatFailsInAScriptIsSaidAndLeavesNoPackageHalfWay(t *testing.T) {
	for _, row := range []struct{ script, fails, arg, says string }{
		{"postinstall.sh", "systemctl try-restart", "2", "the new version does not start, packets go on"},
		{"preremove.sh", "systemctl disable", "0", "the daemon could not be stopped"},
		{"preremove.sh", "pointsman detach", "0", "forwarding may go on until the next boot: it fails"},
		{"preremove.sh", "pointsman decap", "0", "what decap has set on this host could not be undone"},
	} {
		if _, said := calls(t, row.script, row.fails, row.arg); !strings.Contains(said, row.says) {
			t.Errorf("%s says, where %s fails: %q", row.script, row.fails, said)
		}
	}
}

func TestTheExampleOfThePackagesIsAGoodFile(t *testing.T) {
	if _, err := config.Parse("pointsman.hcl", []byte(read(t, "packaging/pointsman.hcl"))); err != nil {
		t.Error(err)
	}
}
