package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limits that systemd has by default.
const (
	startLimit = 90 * time.Second
	stopLimit  = 90 * time.Second
)

// service is a unit that was started at least once.
type service struct {
	unit Unit
	stop context.CancelFunc // nil unless it runs, or is a oneshot that remains
	over chan struct{}      // closed when nothing of it runs any more

	mu       sync.Mutex
	pid      int // 0 between two processes
	restarts int // by itself, since it was started
}

// start returns when the service says that it is ready, or has done what it is for.
func (s *service) start() error {
	if s.active() {
		return nil
	}
	if err := s.unit.makePlaces(); err != nil {
		return err
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.over, s.restarts = make(chan struct{}), 0
	if s.unit.settings["Type"] == "oneshot" {
		return s.once()
	}
	ready := make(chan struct{})
	go s.keep(ctx, ready)
	select {
	case <-ready:
		return nil
	case <-s.over:
		return errors.New("it ended before it was ready")
	case <-time.After(startLimit):
		s.end()
		return fmt.Errorf("it was not ready within %v", startLimit)
	}
}

func (s *service) once() error {
	words := s.unit.command("ExecStart", 0)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	err := cmd.Run()
	if err != nil || s.unit.settings["RemainAfterExit"] != "yes" {
		close(s.over)
	}
	return err
}

// active says whether the service runs, or is to run again soon.
func (s *service) active() bool {
	if s.over == nil {
		return false
	}
	select {
	case <-s.over:
		return false
	default:
		return true
	}
}

// keep has the service run until it is stopped or has ended for good. Its thread is its
// own: who starts a process and dies takes it along.
func (s *service) keep(ctx context.Context, ready chan struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.over)
	say := sync.OnceFunc(func() { close(ready) })
	for {
		err := s.runOnce(ctx, say)
		if err != nil {
			fmt.Fprintf(os.Stderr, "systemd: %s: %v\n", s.unit.Name, err)
		}
		if ctx.Err() != nil || err == nil || s.unit.settings["Restart"] != "on-failure" {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.unit.pause()):
			s.mu.Lock()
			s.restarts++
			s.mu.Unlock()
		}
	}
}

// runOnce runs a process of the service until it ends, or the service is stopped.
func (s *service) runOnce(ctx context.Context, ready func()) error {
	words := s.unit.command("ExecStart", 0)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	tells := s.unit.settings["Type"] == "notify"
	if tells {
		hear, err := s.hear(ready)
		if err != nil {
			return err
		}
		defer hear.Close()
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+hear.LocalAddr().String())
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.setPID(cmd.Process.Pid)
	defer s.setPID(0)
	if !tells {
		ready()
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // it may have ended just now
	select {
	case <-ended:
		return nil
	case <-time.After(stopLimit):
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return <-ended
	}
}

// hear listens to what the service says of itself, until it is closed.
func (s *service) hear(ready func()) (*net.UnixConn, error) {
	path := filepath.Join(runtimeDir, s.unit.Name+".notify")
	_ = os.Remove(path) // of the process before
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	go func() {
		for text := make([]byte, 4096); ; {
			n, err := conn.Read(text)
			if err != nil {
				return
			}
			if strings.Contains("\n"+string(text[:n])+"\n", "\nREADY=1\n") {
				ready()
			}
		}
	}()
	return conn, nil
}

// end stops the service, and returns when nothing of it runs any more.
func (s *service) end() {
	if !s.active() {
		return
	}
	s.stop()
	if s.unit.settings["Type"] == "oneshot" {
		close(s.over)
	}
	<-s.over
}

func (s *service) setPID(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pid = pid
}

func (s *service) mainPID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// signal is for all processes of the service.
func (s *service) signal(signal syscall.Signal) error {
	if pid := s.mainPID(); pid != 0 {
		return syscall.Kill(-pid, signal)
	}
	return nil
}
