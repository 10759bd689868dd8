package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/dataplane/fake"
)

const ended = "the daemon ended with"

// lines is a log that a test can wait on.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// await reads on until a line has all the words.
func (l lines) await(t *testing.T, words ...string) {
	t.Helper()
	for {
		select {
		case line := <-l:
			if strings.HasPrefix(line, ended) {
				t.Fatalf("%s before the log had %q", line, words)
			}
			missing := false
			for _, word := range words {
				missing = missing || !strings.Contains(line, word)
			}
			if !missing {
				return
			}
		case <-t.Context().Done():
			t.Fatalf("no line of the log has %q", words)
		}
	}
}

const lonely = `
interfaces = ["lo"]
vip_pools  = ["2001:db8:feed::/64"]
state_dir  = "STATE"
http_listen = ""
service "web" {
  listen = ["[2001:db8:feed::10]:443/tcp"]
  slots  = 251
  backend "198.51.100.7" {}
}
`

// household is what a daemon needs on disk.
type household struct {
	Options
	dir    string
	plane  *fake.Tables
	opened Sizes
	log    lines
	reload chan os.Signal
}

func newHousehold(t *testing.T) *household {
	dir := t.TempDir()
	h := &household{dir: dir, log: make(lines, 1000), reload: make(chan os.Signal, 1)}
	h.Options = Options{
		ConfigPath: filepath.Join(dir, "pointsman.hcl"),
		PinDir:     filepath.Join(dir, "pins"),
		Socket:     filepath.Join(dir, "s.sock"),
		Version:    "test",
		Reload:     h.reload,
		Log:        slog.New(slog.NewTextHandler(h.log, nil)),
		Open: func(s Sizes) (DataPlane, error) {
			h.opened, h.plane = s, fake.New(s.Limits, s.Slots)
			h.plane.AddInterface("lo", fake.Interface{Index: 1})
			return h.plane, nil
		},
	}
	h.write(t, lonely)
	return h
}

func (h *household) write(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "STATE", filepath.Join(h.dir, "state"))
	if err := os.WriteFile(h.ConfigPath, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run starts the daemon; end ends it.
func (h *household) run(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := Run(ctx, h.Options)
		done <- err
		h.log <- fmt.Sprintf("%s %v", ended, err)
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("%s %v", ended, err)
		}
		for line := range h.log {
			if strings.HasPrefix(line, ended) {
				return
			}
		}
	}
}

func TestTheDaemonAnswersReloadsAndEnds(t *testing.T) {
	h := newHousehold(t)
	end := h.run(t)
	h.log.await(t, "attached", "interface=lo")
	client := api.NewClient(h.Socket)
	backends, err := client.Backends(t.Context(), "web")
	if err != nil || backends.Services[0].Backends[0].Address != "198.51.100.7:443" {
		t.Errorf("the backends of web are %+v, %v", backends, err)
	}

	h.write(t, strings.ReplaceAll(lonely, `"lo"`, `"eth-not-here"`))
	h.reload <- unix.SIGHUP
	h.log.await(t, "the configuration was not taken", "eth-not-here")
	h.write(t, strings.ReplaceAll(lonely, `"web"`, `"www"`))
	h.reload <- unix.SIGHUP
	h.log.await(t, "service is gone", "service=web")
	services, err := client.Services(t.Context())
	if err != nil || len(services.Services) != 1 || services.Services[0].Name != "www" {
		t.Errorf("after the reload the services are %+v, %v", services, err)
	}
	end()
	if _, err := os.Stat(h.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
	if len(h.plane.Attached()) != 1 {
		t.Error("the end of the daemon detached the program")
	}
}

func TestASecondDaemonIsRefusedWithThePidOfTheFirst(t *testing.T) {
	h := newHousehold(t)
	lock, err := Lock(h.PinDir)
	if err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), h.Options)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "as pid ") {
		t.Errorf("got %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	end := h.run(t)
	h.log.await(t, "attached")
	end()
}

func TestAFileWithMistakesDoesNotStart(t *testing.T) {
	h := newHousehold(t)
	h.write(t, strings.ReplaceAll(lonely, `"lo"`, `"eth-not-here"`)+"\nfoo = 1\n")
	var mistakes config.Errors
	if err := Run(t.Context(), h.Options); !errors.As(err, &mistakes) || len(mistakes) != 2 {
		t.Errorf("want the interface and the key in one go, got %v", err)
	}
	if h.plane != nil {
		t.Error("the data plane was opened all the same")
	}
}

func TestTheHashSecretIsDrawnOnceAndKept(t *testing.T) {
	h := newHousehold(t)
	for range 2 {
		before := h.opened.Secret
		end := h.run(t)
		h.log.await(t, "attached")
		end()
		if before != 0 && h.opened.Secret != before {
			t.Errorf("the secret was %x and is %x after a restart", before, h.opened.Secret)
		}
	}
	path := filepath.Join(h.dir, "state", "hash-secret")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s is %v, %v", path, info, err)
	}
	drawn := h.opened.Secret
	spoil := func(path string) {
		if err := os.WriteFile(path, []byte("oops"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := func(words ...string) {
		end := h.run(t)
		h.log.await(t, words...)
		h.log.await(t, "attached")
		end()
	}
	spoil(path)
	again("the hash secret is damaged", path+".set-aside")
	if h.opened.Secret != drawn {
		t.Errorf("the secret was %x, and is %x although another file has it", drawn, h.opened.Secret)
	}
	other := filepath.Join(h.dir, "state", "last-known-good.json")
	spoil(other)
	again("starting without what an earlier daemon knew", other+".set-aside")
	if h.opened.Secret != drawn {
		t.Errorf("the secret was %x, and is %x although its own file has it", drawn, h.opened.Secret)
	}
	spoil(path)
	spoil(other)
	again("a hash secret was drawn")
	if h.opened.Secret == drawn || h.opened.Secret == 0 {
		t.Errorf("with both files spoilt the secret is %x", h.opened.Secret)
	}
}

func TestAFleetSharesTheSecretOfItsFile(t *testing.T) {
	one, other := newHousehold(t), newHousehold(t)
	for _, h := range []*household{one, other} {
		h.write(t, lonely+"\nhash_secret = \"a secret of the fleet\"\n")
		end := h.run(t)
		h.log.await(t, "attached")
		end()
	}
	if one.opened.Secret != other.opened.Secret || one.opened.Secret == 0 {
		t.Errorf("the secrets are %x and %x", one.opened.Secret, other.opened.Secret)
	}
}
