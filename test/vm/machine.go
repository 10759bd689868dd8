package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is QEMU's. It has three serial ports: the kernel's console, what the
// program writes, and what the first process says about how it goes. So neither
// has to be found in the other.
type machine struct {
	accelerator string
	cpus        int
	memory      int // MiB
	bootLimit   time.Duration
}

// What the first process says on its port, each on a line of its own. After
// exited comes the program's exit status, after troubled a reason.
const (
	started  = "started"
	exited   = "exited "
	troubled = "troubled "
)

const (
	consolePort = "ttyS0"
	programPort = "/dev/ttyS1"
	reportPort  = "/dev/ttyS2"
)

// run boots the kernel and returns how the program exited.
func (m machine) run(ctx context.Context, k kernel, image []byte) (status int, err error) {
	dir, err := os.MkdirTemp("", "pointsman-vm-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	initrd, console := filepath.Join(dir, "initrd"), filepath.Join(dir, "console")
	if err := os.WriteFile(initrd, image, 0o600); err != nil {
		return 1, err
	}
	report, reportEnd, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer report.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	qemu, err := m.command(ctx, k, initrd, console)
	if err != nil {
		reportEnd.Close()
		return 1, err
	}
	qemu.ExtraFiles = []*os.File{reportEnd} // its file descriptor 3

	// The thread stays, because QEMU dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = qemu.Start()
	reportEnd.Close()
	if err != nil {
		return 1, err
	}
	status, err = m.follow(report, stop)
	ended := qemu.Wait()
	if err == nil {
		return status, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	log, _ := os.ReadFile(console) // it may not have come that far
	return 1, fmt.Errorf("%s: %w (QEMU: %v); its console says:\n%s", k.release, err, ended, log)
}

func (m machine) command(ctx context.Context, k kernel, initrd, console string) (*exec.Cmd, error) {
	qemu, err := find("qemu-system-x86_64")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, qemu,
		"-accel", m.accelerator, "-smp", strconv.Itoa(m.cpus), "-m", strconv.Itoa(m.memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:"+console,
		"-chardev", "stdio,id=program,signal=off", "-serial", "chardev:program",
		"-chardev", "file,id=report,path=/proc/self/fd/3", "-serial", "chardev:report",
		"-kernel", k.image(), "-initrd", initrd,
		// An oops ends the machine, and so the test, with all that the console says.
		"-append", "console="+consolePort+" quiet oops=panic panic=-1",
	)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// follow reads the first process's port until QEMU closes it. It stops a machine
// that does not start in time; for the time after that go test has a limit.
func (m machine) follow(report io.Reader, stop context.CancelCauseFunc) (status int, err error) {
	late := time.AfterFunc(m.bootLimit, func() { stop(fmt.Errorf("it did not start within %v", m.bootLimit)) })
	defer late.Stop()
	err = errors.New("it ended before the program did")
	for lines := bufio.NewScanner(report); lines.Scan(); {
		line := lines.Text()
		switch {
		case line == started:
			late.Stop()
		case strings.HasPrefix(line, exited):
			status, err = strconv.Atoi(strings.TrimPrefix(line, exited))
		case strings.HasPrefix(line, troubled):
			err = errors.New(strings.TrimPrefix(line, troubled))
		}
	}
	return status, err
}
