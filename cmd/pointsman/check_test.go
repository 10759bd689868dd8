package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestCheckAsksConsul(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "7")
		switch r.URL.Path {
		case "/v1/catalog/services":
			io.WriteString(w, `{"consul": [], "web": []}`)
		default:
			io.WriteString(w, "[]")
		}
	}))
	defer agent.Close()
	path := filepath.Join(t.TempDir(), "pointsman.hcl")
	for _, row := range []struct {
		promise, address string
		code             int
		stderr           string
	}{
		{"a misspelt name is a warning at its place", agent.URL, exitOK, `warning: %s:7:22: Consul knows no instance of "wbe"; did you mean "web"?
%[1]s is good: 1 service
`},
		{"an agent that does not answer is a mistake where its address is", "http://127.0.0.1:1", exitInvalid, `%s:4:20: no Consul agent answers at http://127.0.0.1:1: connect: connection refused
    4 | consul { address = "http://127.0.0.1:1" }
                           ^ is the agent running? Its address is from the configuration
1 mistake
`},
	} {
		t.Run(row.promise, func(t *testing.T) {
			file := fmt.Sprintf(`
interfaces = ["lo"]
vip_pools  = ["2001:db8:feed::/64"]
consul { address = "%s" }
service "web" {
  listen = ["[2001:db8:feed::10]:443/tcp"]
  consul { service = "wbe" }
}
`, row.address)
			if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, stderr := command(t, "check --consul "+path)
			if want := fmt.Sprintf(row.stderr, path); code != row.code || stderr != want {
				t.Errorf("exit %d, stderr\n%s\nwant %d,\n%s", code, stderr, row.code, want)
			}
		})
	}
}
