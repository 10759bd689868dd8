package controlplane

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/controlplane/config"
)

// What is secret in the file, and what was meant to be and stands in a line with a
// mistake, is in no log, event, document or page.
func TestSecretsAreToldNowhere(t *testing.T) {
	const file = `
interfaces  = ["eth0"]
vip_pools   = ["192.0.2.0/24"]
hash_secret = "hush-of-the-fleet"
consul {
  token = "hush-of-consul"
}
service "web" {
  listen = ["192.0.2.10:443/tcp"]
  slots  = 251
  consul {}
}`
	mistakes := strings.NewReplacer(`hash_secret = "hush`, `hash_secret = 7 + "hush`, `token = "hush`, `token = ["hush`, `of-consul"`, `of-consul"]`).Replace(file)
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.start([]byte(file))
		defer func() { s.end() }()
		s.view(s.watch("web"), "10.20.0.11 passing")
		synctest.Wait()
		_, err := config.Parse("pointsman.hcl", []byte(mistakes))
		if err == nil {
			t.Fatal("there is no mistake")
		}
		s.daemon.inbox.reloaded(loaded{err: err})
		synctest.Wait()

		told := map[string]string{"the log": s.log.take()}
		for name, view := range map[string]any{"status": s.daemon.Status(), "services": s.daemon.Services(), "plan": s.plan([]byte(strings.ReplaceAll(file, "hush-of", "hush-hush-of")))} {
			text, err := json.Marshal(view)
			if err != nil {
				t.Fatal(err)
			}
			told[name] = string(text)
		}
		web := api.WebHandler(s.daemon, s.daemon.timings, slog.New(slog.DiscardHandler))
		for _, path := range []string{"/", "/metrics", "/v1/status", "/v1/events", "/v1/backends", "/readyz?strict=1"} {
			answer := httptest.NewRecorder()
			web.ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
			told[path] = answer.Body.String()
		}
		for where, text := range told {
			if text == "" || strings.Contains(text, "hush") {
				t.Errorf("%s says: %s", where, text)
			}
		}
	})
}
