package lab

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to end after SIGTERM.
const patience = 5 * time.Second

// Process is a process on a host. The lab reaps it, and ends it with the lab.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts a command on the host, in the mount namespace of the caller. The
// process dies with its owner, even one that is killed.
func (h *Host) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// A group of its own: an interrupt from the terminal is for the owner, who
	// then ends processes in the right order.
	cmd.SysProcAttr.Setpgid = true
	var err error
	h.ns.inside(func() { err = cmd.Start() })
	if err != nil {
		return nil, fmt.Errorf("starting %s on %s: %w", strings.Join(cmd.Args, " "), h.Name, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the process, which ends with the lab
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	h.lock.Lock()
	defer h.lock.Unlock()
	h.processes = append(slices.DeleteFunc(h.processes, (*Process).over), p)
	return p, nil
}

// Run runs a command on the host and returns what it wrote to stdout; what it
// wrote to stderr is in the error.
func (h *Host) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	p, err := h.Start(cmd)
	if err != nil {
		return nil, err
	}
	if err := p.Wait(); err != nil {
		err = fmt.Errorf("running %s on %s: %w: %s", strings.Join(cmd.Args, " "), h.Name, err, strings.TrimSpace(stderr.String()))
		return []byte(stdout.String()), err
	}
	return []byte(stdout.String()), nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the process to end and returns what exec.Cmd.Wait does.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop asks the process to end by SIGTERM and waits. One that does not end in
// five seconds is killed, which is an error.
func (p *Process) Stop() error {
	if p.over() {
		return nil
	}
	_ = p.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.done:
		return nil
	case <-time.After(patience):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", strings.Join(p.cmd.Args, " "), patience)
	}
}

// Kill ends the process group without asking and waits for the process.
func (p *Process) Kill() {
	if !p.over() {
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		<-p.done
	}
}

func (p *Process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stopProcesses ends the host's processes in the reverse order of their start.
func (h *Host) stopProcesses() error {
	h.lock.Lock()
	processes := h.processes
	h.processes = nil
	h.lock.Unlock()
	var errs []error
	for _, p := range slices.Backward(processes) {
		errs = append(errs, p.Stop())
	}
	return errors.Join(errs...)
}
