//go:build kernels

// Package unit has systemd start the program by the unit that it ships with. Systemd
// must be the first process, so it is built with the tag "kernels" only, for make
// test-kernels.
package unit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

// The places that the unit and the program have by default.
const (
	installed  = "/usr/local/bin/pointsman"
	configPath = "/etc/pointsman/pointsman.hcl"
	unitPath   = "/etc/systemd/system/pointsman.service"
	logPath    = "/run/pointsman.log"
	pinDir     = "/sys/fs/bpf/pointsman"
)

// patience is for an emulated machine.
const patience = 2 * time.Minute

const configuration = `
interfaces = ["eth0"]
vip_pools  = ["192.0.2.0/24", "2001:db8:10::/64"]
service "web" {
  listen = ["192.0.2.1:80/tcp", "[2001:db8:10::1]:80/tcp"]
  backend "%s" {}
  backend "%s" { weight = %d }
}
`

// What a lab needs beside the unit as it ships: the balancer's network, something
// to read when a test fails, and a watchdog that barks sooner.
const dropIn = `[Service]
NetworkNamespacePath=%s
StandardError=append:` + logPath + `
WatchdogSec=10
`

func TestPrivilegedSystemdRunsTheUnitAsItShips(t *testing.T) {
	u := install(t)
	u.systemctl("start", "pointsman")
	if t.Failed() {
		t.FailNow() // nothing of what follows would say more
	}
	asking := u.keepAsking()
	first := u.mainPID()

	t.Run("with its capabilities, no others, and Debian's settings", func(t *testing.T) {
		u := u.in(t)
		status := read(t, fmt.Sprintf("/proc/%s/status", first))
		for _, line := range []string{"CapPrm:\t000000c000003000", "CapEff:\t000000c000003000", "CapBnd:\t000000c000003000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(status, line+"\n") {
				t.Errorf("%q is not in\n%s", line, status)
			}
		}
		for setting, want := range map[string]string{"perf_event_paranoid": "3", "unprivileged_bpf_disabled": "2"} {
			if got := strings.TrimSpace(read(t, "/proc/sys/kernel/"+setting)); got != want {
				t.Errorf("%s is %s, Debian's is %s", setting, got, want)
			}
		}
		if log := read(t, logPath); strings.Contains(log, `"level":"WARN"`) || strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("something is not as it should be:\n%s", log)
		}
		u.answered("at first")
	})
	t.Run("a reload of a bad file fails, and the old one goes on", func(t *testing.T) {
		u := u.in(t)
		write(t, configPath, strings.Replace(read(t, configPath), "listen", "lisen", 1))
		out, err := exec.Command("systemctl", "reload", "pointsman").CombinedOutput()
		if err == nil {
			t.Errorf("systemd calls it a success: %s", out)
		}
		if pid := u.mainPID(); pid != first {
			t.Errorf("process %s has taken the place of %s", pid, first)
		}
		u.answered("by the old file")
		u.configure(2)
		u.systemctl("reload", "pointsman")
		u.answered("by the new one")
	})
	t.Run("a restart", func(t *testing.T) {
		u := u.in(t)
		u.systemctl("restart", "pointsman")
		u.answered("after a restart")
	})
	t.Run("a daemon that hangs is replaced", func(t *testing.T) {
		u := u.in(t)
		hanging := u.mainPID()
		u.signal(hanging, syscall.SIGSTOP)
		u.await("another runs", func() error {
			if pid := u.mainPID(); pid == hanging || pid == "0" {
				return fmt.Errorf("it is process %s", pid)
			}
			return u.isActive()
		})
		u.answered("after the watchdog")
	})
	t.Run("a daemon that is killed is replaced", func(t *testing.T) {
		u := u.in(t)
		killed := u.mainPID()
		u.signal(killed, syscall.SIGKILL)
		u.await("another runs", func() error {
			if pid := u.mainPID(); pid == killed || pid == "0" {
				return fmt.Errorf("it is process %s", pid)
			}
			return u.isActive()
		})
		u.answered("after its death")
	})
	t.Run("a stop leaves the pins, and packets go on", func(t *testing.T) {
		u := u.in(t)
		u.systemctl("stop", "pointsman")
		for _, pin := range []string{"links/eth0", "program", "maps/vips"} {
			if _, err := os.Stat(filepath.Join(pinDir, pin)); err != nil {
				t.Error(err)
			}
		}
		u.answered("without a daemon")
		u.systemctl("start", "pointsman")
		u.answered("with one again")
	})
	if failed := asking().Failed(); len(failed) > 0 {
		t.Errorf("%d requests were lost, the first at %s: %v", len(failed), failed[0].Sent, failed[0].Err)
	}
}

// unit is a lab whose balancer systemd runs.
type unit struct {
	*testing.T
	*balancer.Balancer
}

func (u unit) in(t *testing.T) unit { return unit{t, u.Balancer} }

// install puts the program and the unit where a clone's user puts them.
func install(t *testing.T) unit {
	t.Helper()
	u := begin(t)
	for _, dir := range []string{filepath.Dir(installed), filepath.Dir(configPath)} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.WriteFile(installed, []byte(read(t, u.Binary)), 0o755))
	write(t, unitPath, read(t, "../../packaging/pointsman.service"))
	u.configure(1)
	u.systemctl("daemon-reload")
	return u
}

// begin makes a lab, whose balancer's network the unit will run in.
func begin(t *testing.T) unit {
	t.Helper()
	program, err := balancer.Build(t.Context(), t.TempDir())
	must(t, err)
	u := unit{t, balancer.New(lab.ForTest(t, lab.Options{Backends: 2}), program)}
	t.Cleanup(u.uninstall)
	for _, h := range u.Lab.Backends {
		must(t, u.Decap(t.Context(), h, lab.VIP4(1), lab.VIP6(1)))
	}
	must(t, os.MkdirAll(unitPath+".d", 0o755))
	write(t, unitPath+".d/lab.conf", fmt.Sprintf(dropIn, u.Host.Namespace()))
	return u
}

func (u unit) uninstall() {
	if u.Failed() {
		log, _ := os.ReadFile(logPath)
		said, _ := exec.Command("systemctl", "show", "pointsman").CombinedOutput()
		u.Logf("the log:\n%s\nsystemd:\n%s", log, said)
	}
	if out, err := exec.Command("systemctl", "show", "--property=LoadState", "--value", "pointsman").Output(); err == nil && string(out) == "loaded\n" {
		u.systemctl("stop", "pointsman")
	}
	if out, err := exec.Command(u.Binary, "detach").CombinedOutput(); err != nil {
		u.Errorf("detaching: %v: %s", err, out)
	}
	if err := u.Close(); err != nil {
		u.Errorf("clearing up: %v", err)
	}
}

func (u unit) configure(weight int) {
	u.Helper()
	write(u.T, configPath, fmt.Sprintf(configuration, u.Lab.Backends[0].Addr4, u.Lab.Backends[1].Addr6, weight))
}

func (u unit) systemctl(args ...string) string {
	u.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil {
		u.Errorf("systemctl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(bytes.TrimSpace(out))
}

func (u unit) mainPID() string {
	return u.systemctl("show", "--property=MainPID", "--value", "pointsman")
}

func (u unit) isActive() error {
	if state := u.systemctl("show", "--property=ActiveState", "--value", "pointsman"); state != "active" {
		return errors.New("the unit is " + state)
	}
	return nil
}

func (u unit) signal(pid string, signal syscall.Signal) {
	u.Helper()
	number, err := strconv.Atoi(pid)
	must(u.T, err)
	must(u.T, syscall.Kill(number, signal))
}

func (u unit) await(what string, problem func() error) {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	for err := problem(); err != nil; err = problem() {
		select {
		case <-ctx.Done():
			u.Fatalf("waiting until %s: %v", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (u unit) load(vip netip.Addr) traffic.Load {
	return traffic.Load{From: u.Lab.Client, Kind: traffic.HTTP, To: netip.AddrPortFrom(vip, 80), Workers: 2, Timeout: patience / 2}
}

// answered has some requests answered, by both families.
func (u unit) answered(when string) {
	u.Helper()
	ctx, cancel := context.WithTimeout(u.Context(), patience)
	defer cancel()
	for _, vip := range []netip.Addr{lab.VIP4(1), lab.VIP6(1)} {
		load := u.load(vip)
		load.Requests = 20
		answers := load.Run(ctx)
		if failed := answers.Failed(); len(failed) > 0 || len(answers) < load.Requests {
			u.Errorf("%s %d of %d requests were answered: %v", when, len(answers)-len(failed), load.Requests, failed)
		}
	}
}

// keepAsking asks until what it returns is called.
func (u unit) keepAsking() (finish func() traffic.Answers) {
	ctx, stop := context.WithCancel(u.Context())
	answers := make(chan traffic.Answers, 1)
	go func() {
		load := u.load(lab.VIP4(1))
		load.Pause = 20 * time.Millisecond
		answers <- load.Run(ctx)
	}()
	return func() traffic.Answers { stop(); return <-answers }
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}
