// Package balancer runs the program in a lab, for the demo and for tests:
// pointsman run on the balancer, pointsman decap on the backends, a Consul agent
// beside it, and the questions that an operator would ask. It uses the program
// only as an operator does.
package balancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/test/consul"
	"github.com/pointsman/pointsman/test/lab"
)

// Balancer is the program at work in a lab. It is not safe for use by several
// goroutines but for its questions, Run, Status and Backends.
type Balancer struct {
	Lab    *lab.Lab
	Host   *lab.Host     // where it runs
	Binary string        // path of the program
	Runs   string        // path of the one that Start starts; "" is Binary
	Daemon *lab.Process  // of the last Start; nil before
	Flags  []string      // of the daemon, beside those it needs in a lab
	Under  []string      // a command and its arguments to run the daemon under; none is none
	Consul *consul.Agent // that it asks; nil until StartConsul or StartCluster
	// Cluster is what Consul is of; nil until StartCluster.
	Cluster *consul.Cluster
	decaps  []decap
}

// New is a balancer that does not run yet, on the lab's first.
func New(l *lab.Lab, binary string) *Balancer {
	return &Balancer{Lab: l, Host: l.Balancer, Binary: binary}
}

// NewSecond is one on the lab's second.
func NewSecond(l *lab.Lab, binary string) *Balancer {
	return &Balancer{Lab: l, Host: l.Second, Binary: binary}
}

// dir is the balancer's own, since all hosts of a lab share the file systems of
// this machine. The first has the lab's: that is where people look.
func (b *Balancer) dir() string {
	if b.Host == b.Lab.Second {
		return filepath.Join(b.Lab.Dir, b.Host.Name)
	}
	return b.Lab.Dir
}

// ConfigPath is the file that the daemon reads, and LogPath what it writes.
func (b *Balancer) ConfigPath() string { return filepath.Join(b.dir(), "pointsman.hcl") }
func (b *Balancer) LogPath() string    { return filepath.Join(b.dir(), "balancer.log") }

// Socket is where the daemon answers, and StateDir what a configuration should
// name as state_dir.
func (b *Balancer) Socket() string   { return filepath.Join(b.dir(), "pointsman.sock") }
func (b *Balancer) StateDir() string { return filepath.Join(b.dir(), "state") }

// PinDir is a place of the balancer's own.
func (b *Balancer) PinDir() string { return filepath.Join(b.Lab.PinDir, b.Host.Name) }

// Configure writes the configuration, for the next Start or Reload.
func (b *Balancer) Configure(text string) error {
	if err := os.MkdirAll(b.dir(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(b.ConfigPath(), []byte(text), 0o600)
}

// Start starts the daemon. It returns at once; Await tells when it is ready.
func (b *Balancer) Start() error {
	log, err := os.OpenFile(b.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	line := slices.Concat(b.Under, []string{cmp.Or(b.Runs, b.Binary), "run", "--config", b.ConfigPath(), "--pin-dir", b.PinDir(), "--socket", b.Socket()}, b.Flags)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	b.Daemon, err = b.Host.Start(cmd)
	return err
}

// Reload asks the daemon to read its configuration again.
func (b *Balancer) Reload() error { return b.Daemon.Signal(syscall.SIGHUP) }

// Log is what the daemons have written so far.
func (b *Balancer) Log() string {
	text, err := os.ReadFile(b.LogPath())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Detach takes everything off the balancer, by the command.
func (b *Balancer) Detach(ctx context.Context) error {
	_, err := b.Run(ctx, "detach", "--pin-dir", b.PinDir())
	return err
}

// Close ends the daemon and Consul and takes everything off all hosts again, by
// the commands that an operator would use. What they leave is an error. The lab
// stays.
func (b *Balancer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var errs []error
	if b.Daemon != nil {
		errs = append(errs, b.Daemon.Stop(), b.Detach(ctx))
		b.Daemon = nil
	}
	pins := b.pinDirs()
	errs = append(errs, b.decapOff(ctx), b.stopConsul(), pinsLeft(pins))
	return errors.Join(errs...)
}

// pinDirs are where it and its backends pin.
func (b *Balancer) pinDirs() []string {
	dirs := []string{b.PinDir()}
	for _, d := range b.decaps {
		dirs = append(dirs, b.decapPinDir(d.host))
	}
	return dirs
}

// pinsLeft looks for pins before the lab would remove them.
func pinsLeft(dirs []string) error {
	var left []error
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				left = append(left, fmt.Errorf("left pinned: %s", path))
			}
			return err
		})
		if !errors.Is(err, fs.ErrNotExist) {
			left = append(left, err)
		}
	}
	return errors.Join(left...)
}
