package consul

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// start starts a process that dies with this one, however this one ends. The
// kernel ties that to the thread that started it, so the thread waits for it.
func start(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is in its log, or is our own signal
		}
	}()
	return ended, <-started
}

// Kill ends the agent at once, as a crash would, and returns when it is gone.
func (a *Agent) Kill() error { return a.end(syscall.SIGKILL) }

// Stop ends the agent gently, and by force after five seconds, and removes its files.
func (a *Agent) Stop() error {
	return errors.Join(a.end(syscall.SIGTERM), os.RemoveAll(a.Directory))
}

func (a *Agent) end(signal syscall.Signal) error {
	if a.ended == nil {
		return nil // it was never started
	}
	err := a.cmd.Process.Signal(signal)
	select {
	case <-a.ended:
		return nil
	case <-time.After(5 * time.Second):
	}
	err = errors.Join(err, a.cmd.Process.Kill())
	<-a.ended
	return err
}

// withoutConsul drops what would change the agent behind the test's back.
func withoutConsul(environment []string) []string {
	var kept []string
	for _, v := range environment {
		if !strings.HasPrefix(v, "CONSUL_") {
			kept = append(kept, v)
		}
	}
	return kept
}
