package controlplane

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/controlplane/api"
)

func TestReloadReturnsWhenTheNewConfigurationRuns(t *testing.T) {
	h := newHousehold(t)
	end := h.run(t)
	defer end()
	h.log.await(t, "attached")
	client := api.NewClient(h.Socket)
	for _, name := range []string{"www", "shop", "web"} {
		h.write(t, strings.ReplaceAll(lonely, `"web"`, `"`+name+`"`))
		done, err := client.Reload(t.Context(), api.ReloadRequest{})
		if err != nil || done.Services != 1 || done.Path != h.ConfigPath {
			t.Fatalf("got %+v, %v", done, err)
		}
		services, err := client.Services(t.Context())
		if err != nil || services.Services[0].Name != name || services.Services[0].State != "ok" {
			t.Errorf("when it has returned, the services are %+v, %v", services, err)
		}
		status, err := client.Status(t.Context())
		if err != nil || !status.Config.Loaded.Equal(done.Loaded) {
			t.Errorf("it was loaded at %v, says the status: %v; the answer says %v", status.Config.Loaded, err, done.Loaded)
		}
	}
	t.Run("and says what only a restart changes", func(t *testing.T) {
		h.write(t, lonely+"\nlimits { flows = 64 }\n")
		if done, err := client.Reload(t.Context(), api.ReloadRequest{}); err != nil || len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "limits changed") {
			t.Errorf("got %+v, %v", done, err)
		}
	})
	t.Run("and says every mistake, and changes nothing", func(t *testing.T) {
		h.write(t, strings.ReplaceAll(lonely, `"lo"`, `"eth-not-here"`)+"\nfoo = 1\n")
		_, err := client.Reload(t.Context(), api.ReloadRequest{})
		var problem *api.Problem
		if !errors.As(err, &problem) || problem.Status != http.StatusUnprocessableEntity || len(problem.Mistakes) != 2 || problem.Path != h.ConfigPath {
			t.Fatalf("got %v", err)
		}
		if m := problem.Mistakes[0]; m.Line != 2 || m.Source == "" || !strings.Contains(m.Summary, "eth-not-here") {
			t.Errorf("the first mistake is %+v", m)
		}
		if services, err := client.Services(t.Context()); err != nil || services.Services[0].Name != "web" {
			t.Errorf("the services are %+v, %v", services, err)
		}
	})
}

func TestEveryReloadIsAnswered(t *testing.T) {
	h := newHousehold(t)
	end := h.run(t)
	defer end()
	h.log.await(t, "attached")
	answers := make(chan error)
	for range 20 {
		go func() {
			_, err := api.NewClient(h.Socket).Reload(t.Context(), api.ReloadRequest{})
			answers <- err
		}()
	}
	for range 20 {
		select {
		case h.reload <- unix.SIGHUP:
		default:
		}
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

func TestAClientThatGoesAwayKeepsNoReloadWaiting(t *testing.T) {
	h := newHousehold(t)
	end := h.run(t)
	defer end()
	h.log.await(t, "attached")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := api.NewClient(h.Socket).Reload(gone, api.ReloadRequest{}); err == nil {
		t.Error("who has gone got an answer")
	}
	if _, err := api.NewClient(h.Socket).Reload(t.Context(), api.ReloadRequest{}); err != nil {
		t.Error(err)
	}
}
