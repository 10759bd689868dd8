//go:build kernels

package unit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// The packages to install and to upgrade to, from make test-packages.
const (
	oldDeb = "POINTSMAN_OLD_DEB"
	newDeb = "POINTSMAN_NEW_DEB"
)

// The life of the package on a Debian that has seen no other: installed, running,
// upgraded under traffic, removed, purged.
func TestPrivilegedTheDebLivesAndDiesOnACleanDebian(t *testing.T) {
	if _, err := os.Stat("/usr/bin/pointsman"); err == nil {
		t.Fatal("this system has it already")
	}
	u := begin(t)
	// What comes with a boot empties /tmp elsewhere, where the lab's files are and a
	// clone's may be.
	u.systemctl("start", "basic.target")
	if _, err := os.Stat(u.Lab.Dir); err != nil {
		t.Fatalf("files did not outlive the boot: %v", err)
	}
	u.dpkg("--install", os.Getenv(oldDeb))

	t.Run("is installed and waits for its file to be written", func(t *testing.T) {
		u := u.in(t)
		if state := u.said("systemctl", "is-enabled", "pointsman"); state != "disabled" {
			t.Errorf("the unit is %s", state)
		}
		if state := u.said("systemctl", "is-active", "pointsman"); state != "inactive" {
			t.Errorf("the unit is %s", state)
		}
		if said, err := u.Host.Run(t.Context(), "pointsman", "check"); err != nil {
			t.Errorf("check says of the example: %s, %v", said, err)
		}
		if said := u.said("systemd-analyze", "verify", "--man=no", "pointsman.service"); said != "" {
			t.Errorf("systemd says of the unit: %s", said)
		}
	})
	u.configure(1)
	u.systemctl("enable", "--now", "pointsman")
	if t.Failed() {
		t.FailNow()
	}
	u.answered("at first")
	u.socketIsTheGroups()

	t.Run("is upgraded, and no packet notices", func(t *testing.T) {
		u := u.in(t)
		write(t, configPath, read(t, configPath)+"# mine\n")
		before, version := u.mainPID(), u.said("pointsman", "version")
		asking := u.keepAsking()
		u.dpkg("--install", os.Getenv(newDeb))
		u.answered("after the upgrade")
		answers := asking()
		if failed := answers.Failed(); len(failed) > 0 || len(answers) == 0 {
			t.Errorf("of %d requests %d were lost: %v", len(answers), len(failed), failed)
		}
		if pid, now := u.mainPID(), u.said("pointsman", "version"); pid == before || pid == "0" || now == version {
			t.Errorf("process %s of %s was to be replaced, and there is %s of %s", before, version, pid, now)
		}
		if status := u.said("pointsman", "status"); !strings.Contains(status, "version next,") { // as make test-packages calls it
			t.Errorf("another version runs:\n%s", status)
		}
		if !strings.HasSuffix(read(t, configPath), "# mine\n") {
			t.Error("the operator's file was overwritten")
		}
	})
	t.Run("is removed, and nothing is left in the kernel", func(t *testing.T) {
		u := u.in(t)
		last := u.mainPID()
		u.dpkg("--remove", "pointsman")
		if _, err := os.Stat("/proc/" + last); err == nil {
			t.Errorf("the daemon still runs as process %s", last)
		}
		u.gone("/usr/bin/pointsman", pinDir, "/etc/systemd/system/multi-user.target.wants/pointsman.service")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		load := u.load(lab.VIP4(1))
		load.Requests, load.Timeout = 1, time.Second
		if answers := load.Run(ctx); len(answers.Failed()) != 1 {
			t.Errorf("somebody still answers: %v", answers)
		}
		read(t, configPath) // or the test ends
	})
	t.Run("is purged with all it had written", func(t *testing.T) {
		u := u.in(t)
		u.dpkg("--purge", "pointsman")
		u.gone("/etc/pointsman", "/var/lib/pointsman", "/run/pointsman")
	})
}

// dpkg runs it as scripts do; it must succeed.
func (u unit) dpkg(args ...string) {
	u.Helper()
	cmd := exec.Command("dpkg", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	u.Logf("dpkg %s:\n%s", strings.Join(args, " "), out)
	must(u.T, err)
}

// said is what a command writes, however it exits.
func (u unit) said(command ...string) string {
	out, _ := exec.Command(command[0], command[1:]...).CombinedOutput()
	return strings.TrimSpace(string(out))
}

func (u unit) gone(paths ...string) {
	u.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			u.Errorf("%s is still there: %s", path, u.said("ls", "-lR", path))
		}
	}
}

// socketIsTheGroups is about who may use the commands.
func (u unit) socketIsTheGroups() {
	u.Helper()
	group, err := user.LookupGroup("pointsman")
	must(u.T, err)
	info, err := os.Stat("/run/pointsman/pointsman.sock")
	must(u.T, err)
	owner := strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Gid))
	if mode := fmt.Sprintf("%o", info.Mode().Perm()); owner != group.Gid || mode != "660" {
		u.Errorf("the socket is group %s's with mode %s, and pointsman is group %s", owner, mode, group.Gid)
	}
}
