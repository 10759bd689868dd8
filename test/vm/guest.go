package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// beGuest is the life of the machine's first process: prepare, run the program,
// say how it went, switch off. Where systemd is to be the first process, it becomes
// that, and does the rest as its service. It does not return.
func beGuest() {
	j, err := readJob()
	if err == nil && os.Getpid() == 1 {
		err = prepare(j)
	}
	var report *os.File
	if err == nil {
		report, err = openPort(reportPort)
	}
	if err != nil {
		fmt.Println("the machine cannot be prepared:", err) // on the console
		powerOff()
	}
	fmt.Fprintln(report, started)
	status, err := j.carryOut()
	if err != nil {
		fmt.Fprintln(report, troubled+strings.ReplaceAll(err.Error(), "\n", "; "))
	} else {
		fmt.Fprintf(report, "%s%d\n", exited, status)
	}
	drain(report)
	powerOff()
}

func readJob() (j job, err error) {
	orders, err := os.ReadFile(jobPath)
	if err != nil {
		return j, err
	}
	if err := json.Unmarshal(orders, &j); err != nil {
		return j, fmt.Errorf("reading %s: %w", jobPath, err)
	}
	return j, nil
}

// prepare mounts what every Linux has. Files are in memory anyway, so /tmp and /run
// need nothing.
func prepare(j job) error {
	if j.Systemd {
		if err := coverRoot(); err != nil {
			return fmt.Errorf("making / a mount that can be left: %w", err)
		}
	}
	for _, m := range []struct{ kind, on string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"bpf", "/sys/fs/bpf"},
	} {
		if err := unix.Mount(m.kind, m.on, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.kind, m.on, err)
		}
	}
	if j.Systemd {
		return becomeSystemd()
	}
	return nil
}

// openPort opens a serial port that changes nothing of what is written to it.
func openPort(path string) (*os.File, error) {
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(int(port.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("reading the settings of %s: %w", path, err)
	}
	settings.Oflag &^= unix.OPOST
	settings.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, settings); err != nil {
		return nil, fmt.Errorf("changing the settings of %s: %w", path, err)
	}
	return port, nil
}

// drain waits until everything has left the port.
func drain(port *os.File) { _ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1) }

func powerOff() {
	fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)) // it only returns to complain
	os.Exit(1)                                                // which is a panic, which ends QEMU
}

func (j job) carryOut() (status int, err error) {
	for _, path := range j.Modules {
		if err := loadModule(path); err != nil {
			return 0, fmt.Errorf("loading module %s: %w", filepath.Base(path), err)
		}
	}
	if err := setLoopbackUp(); err != nil {
		return 0, fmt.Errorf("setting lo up: %w", err)
	}
	port, err := openPort(programPort)
	if err != nil {
		return 0, err
	}
	defer drain(port)
	cmd := exec.Command(j.Program, j.Arguments...)
	cmd.Dir, cmd.Env = j.Folder, j.Variables
	cmd.Stdout, cmd.Stderr = port, port
	err = cmd.Run()
	var failed *exec.ExitError
	if errors.As(err, &failed) && failed.Exited() {
		return failed.ExitCode(), nil
	}
	return 0, err
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.FinitModule(int(file.Fd()), "", 0)
}

func setLoopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
