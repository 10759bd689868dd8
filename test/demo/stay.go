package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/pointsman/pointsman/test/lab"
)

// ready ends what the background process tells the one that started it.
const ready = "-- ready --"

// leaveUp starts a copy of this program in the background, which owns the lab,
// and passes on what it says until it is ready. A copy, because the servers of
// the backends live inside a process.
func leaveUp(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"--hold", "--binary", o.binary}
	if o.consul {
		args = append(args, "--consul")
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd := exec.Command(self, args...)
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this terminal
	if err := cmd.Start(); err != nil {
		write.Close()
		return err
	}
	write.Close()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	for lines := bufio.NewScanner(read); lines.Scan(); {
		if lines.Text() == ready {
			return nil
		}
		say("%s", lines.Text())
	}
	return fmt.Errorf("the lab did not come up: %w", cmd.Wait())
}

// hold is the copy: it keeps the lab until it is told to end.
func hold(ctx context.Context, o options) error {
	s, err := open(ctx, o)
	if err != nil {
		return err
	}
	explain(s)
	say(ready)
	// Nobody reads on, and writing to a pipe without a reader would be fatal.
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return errors.Join(err, s.close())
	}
	os.Stdout, os.Stderr = nowhere, nowhere
	<-ctx.Done()
	return s.close()
}

func in(h *lab.Host) string { return "nsenter --net=" + h.Namespace() }

func explain(s *stage) {
	say("\nThe lab stays up. In any terminal of root, for example:")
	say("\n  # requests from the client, a backend's name for an answer")
	for _, vip := range services[0].vips {
		say("  %s curl -s 'http://%s/'", in(s.Lab.Client), netip.AddrPortFrom(vip, services[0].port))
	}
	say("\n  # what the balancer thinks")
	say("  %s status --socket %s", s.Binary, s.Socket())
	say("  %s backends --socket %s", s.Binary, s.Socket())
	say("  less %s", s.LogPath())
	say("\n  # another configuration: edit, then reload")
	say("  ${EDITOR:-vi} %s && kill -HUP %d", s.ConfigPath(), s.Daemon.PID())
	say("\n  # a shell on a backend")
	say("  %s bash", in(s.Lab.Backends[0]))
	if s.Consul != nil {
		say("\n  # fail the check of %s in Consul; \"pass\" makes it well again", victim.name)
		say("  %s curl -s -X PUT %s/v1/agent/check/fail/%s", in(s.Lab.Balancer), s.Consul.HTTP, instance(services[0], victim))
	} else {
		say("\n  # pull the cable of %s; \"up\" plugs it in again", victim.name)
		say("  %s-switch-a ip link set %s down", strings.TrimSuffix(in(s.Lab.Client), "-client"), victim.name)
	}
	say("\n  # take it all down")
	say("  kill %d", os.Getpid())
}
