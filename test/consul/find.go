// Package consul gives tests and the demo a real Consul agent: it finds or
// builds the program, runs an agent with whatever access rules and TLS a story
// needs, and stops it again. It does not import testing.
package consul

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Log prints a line, as testing.T's Logf or log.Printf.
type Log func(format string, args ...any)

// Find returns the path of a consul program: the one on the PATH, else
// bin/consul of this repository, which is built first where it is missing. The
// working directory must be inside the repository.
func Find(ctx context.Context, log Log) (string, error) {
	if path, err := exec.LookPath("consul"); err == nil {
		return filepath.Abs(path)
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "consul")
	if runs(path) {
		return path, nil
	}
	if err := build(ctx, log, root, path); err != nil {
		return "", fmt.Errorf("building consul: %w", err)
	}
	return path, nil
}

func runs(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o100 != 0
}

// repository is the nearest directory upwards that holds the test tools' module.
func repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "test", "tools", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the repository, so there is nothing to build consul from", start)
		}
	}
}

// build is safe to be called by several test processes at once: the first one
// builds and the others wait for it. The program appears under its name only
// when it is complete.
func build(ctx context.Context, log Log, root, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		log("waiting for another process that is building consul")
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
			return err
		}
	}
	if runs(path) {
		return nil
	}
	log("there is no consul on the PATH: building one from test/tools, which takes some minutes, once")
	var output bytes.Buffer
	partial := path + ".partial"
	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Join(root, "test", "tools"), "-o", partial, "github.com/hashicorp/consul")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := await(cmd, log); err != nil {
		return errors.Join(err, errors.New(output.String()))
	}
	return os.Rename(partial, path)
}

// await runs cmd and says now and then that it is still running.
func await(cmd *exec.Cmd, log Log) error {
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			log("the build ended after %s", time.Since(start).Round(time.Second))
			return err
		case <-tick.C:
			log("still building consul, for %s now", time.Since(start).Round(time.Second))
		}
	}
}
