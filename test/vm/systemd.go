package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	systemdPath = "/usr/lib/systemd/systemd"
	unitFolder  = "/usr/lib/systemd/system"
	// serviceWord has this program, as a service, do what its first process does
	// elsewhere.
	serviceWord = "service"
	serviceName = "job.service"
)

// serviceUnit depends on nothing: systemd need not do more than be there.
const serviceUnit = `[Unit]
DefaultDependencies=no
[Service]
ExecStart=/init ` + serviceWord + `
StandardError=tty
TTYPath=/dev/console
`

// systemdFiles are systemd's as this machine has it: the manager, its command, and
// the targets that every service depends on.
func systemdFiles() ([]string, error) {
	files := []string{systemdPath, "systemctl"}
	for _, target := range []string{"sysinit", "basic", "multi-user", "network", "network-online"} {
		files = append(files, filepath.Join(unitFolder, target+".target"))
	}
	if _, err := os.Stat(systemdPath); err != nil {
		return nil, errors.New("systemd is missing: apt-get install systemd")
	}
	// Since systemd 255.
	const executor = "/usr/lib/systemd/systemd-executor"
	if _, err := os.Stat(executor); err == nil {
		files = append(files, executor)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return files, nil
}

// coverRoot puts a mount of the root over itself: a service whose file systems are
// its own leaves the root that it had, and nobody can leave the kernel's first one.
func coverRoot() error {
	const over = "/over"
	if err := os.Mkdir(over, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/", over, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir(over); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	return unix.Chroot(".")
}

// settings has systemd run the program, and leave it its files where these are below
// /tmp: Debian 12 empties that at boot, others mount a file system of its own on it.
var settings = map[string]string{
	"/etc/systemd/system/" + serviceName: serviceUnit,
	"/etc/systemd/system/tmp.mount":      "", // which is how to mask a unit
	"/etc/tmpfiles.d/tmp.conf":           "d /tmp 1777 root root -\n",
}

// becomeSystemd returns only to complain.
func becomeSystemd() error {
	for _, dir := range []string{"/var/lib", "/var/tmp", "/home"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for path, text := range settings {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return unix.Exec(systemdPath, []string{systemdPath, "--unit=" + serviceName}, []string{"PATH=" + searchPath})
}
