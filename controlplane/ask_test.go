package controlplane

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

func TestWhatConsulObjectsTo(t *testing.T) {
	var status int
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	defer server.Close()
	for _, row := range []struct {
		promise  string
		status   int
		body     string
		strict   bool
		mistake  string // "" where it is only a warning
		nobodyIs bool   // nobody listens
	}{
		{"a filter that Consul cannot read is a mistake at its place", 500,
			"Failed to create boolean expression evaluator: oops", false, "pointsman.hcl:7:21", false},
		{"a right that is missing does not keep what runs from running", 403, "Permission denied", false, "", false},
		{"but a strict check calls it a mistake", 403, "Permission denied", true, "pointsman.hcl:7:3", false},
		{"servers without a leader are nobody's mistake", 500, "No cluster leader", false, "", false},
		{"an agent that is down is nobody's mistake at a start", 0, "", false, "", true},
	} {
		t.Run(row.promise, func(t *testing.T) {
			status, body = row.status, row.body
			address := server.URL
			if row.nobodyIs {
				address = "http://127.0.0.1:1"
			}
			warnings, mistakes := askConsul(t.Context(), parse(t, asking, address, "x"), row.strict)
			if row.mistake == "" {
				if len(mistakes) != 0 || len(warnings) != 1 {
					t.Errorf("mistakes %v, warnings %q", mistakes, warnings)
				}
				return
			}
			if len(mistakes) != 1 || !strings.HasPrefix(mistakes[0].Error(), row.mistake+": ") {
				t.Errorf("mistakes %v, warnings %q", mistakes, warnings)
			}
		})
	}
}

const askingForMany = `
interfaces = ["lo"]
vip_pools  = ["2001:db8:feed::/64"]
consul { %s }
service "api" {
  listen = ["[2001:db8:feed::10]:443/tcp"]
  consul {}
}
service "shop" {
  listen = ["[2001:db8:feed::11]:443/tcp"]
  consul { tags = ["blue"] }
}
service "web" {
  listen = ["[2001:db8:feed::12]:443/tcp"]
  consul { service = "wbe" }
}
`

func TestAnAgentThatDoesNotAnswerIsOneMistakeWhereItsAddressIs(t *testing.T) {
	const nobody = "http://127.0.0.1:1"
	for _, row := range []struct{ promise, block, environment, want string }{
		{"in the file", `address = "` + nobody + `"`, "", `pointsman.hcl:4:20: no Consul agent answers at http://127.0.0.1:1: connect: connection refused
    4 | consul { address = "http://127.0.0.1:1" }
                           ^ is the agent running? Its address is from the configuration`},
		{"in the environment, which is no place in the file", "", nobody, `pointsman.hcl: no Consul agent answers at http://127.0.0.1:1: connect: connection refused
  is the agent running? Its address is from the environment (CONSUL_HTTP_ADDR)`},
	} {
		t.Run(row.promise, func(t *testing.T) {
			t.Setenv("CONSUL_HTTP_ADDR", row.environment)
			file := parse(t, askingForMany, row.block)
			warnings, mistakes := askConsul(t.Context(), file, true)
			if got := mistakes.Error(); got != row.want || len(warnings) != 0 {
				t.Errorf("got\n%s\nwarnings %q, want\n%s", got, warnings, row.want)
			}
			warnings, mistakes = askConsul(t.Context(), file, false)
			if len(mistakes) != 0 || len(warnings) != 1 || !strings.HasSuffix(warnings[0], "; is the agent running? Its address is from "+row.want[strings.LastIndex(row.want, "the "):]) {
				t.Errorf("at a start it is one warning, got mistakes %v, warnings %q", mistakes, warnings)
			}
		})
	}
}

// agent is a Consul that knows an instance of api, and the names of some
// services.
type agent struct{ names string }

func (a agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Consul-Index", "7")
	switch what, name := path.Split(r.URL.Path); {
	case what == "/v1/health/service/" && name == "api":
		io.WriteString(w, `[{"Node": {}, "Service": {"ID": "api", "Address": "2001:db8::1", "Port": 443}}]`)
	case r.URL.Path == "/v1/catalog/services" && a.names == "":
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/v1/catalog/services":
		io.WriteString(w, a.names)
	case what == "/v1/discovery-chain/":
		io.WriteString(w, "{}")
	default:
		io.WriteString(w, "[]")
	}
}

func TestANameThatNobodyBearsIsAWarningAtItsPlace(t *testing.T) {
	for _, row := range []struct {
		promise, names string
		want           []string
	}{
		{"with what was probably meant", `{"api": [], "web": [], "shop": []}`, []string{
			`pointsman.hcl:11:3: Consul knows no instance of "shop" with tags blue; it knows others of that service: look at tags and filter`,
			`pointsman.hcl:15:22: Consul knows no instance of "wbe"; did you mean "web"?`,
		}},
		{"where the token does not show the names, without", "", []string{
			`pointsman.hcl:11:3: Consul knows no instance of "shop" with tags blue; there are no backends until one registers`,
			`pointsman.hcl:15:22: Consul knows no instance of "wbe"; there are no backends until one registers`,
		}},
	} {
		t.Run(row.promise, func(t *testing.T) {
			server := httptest.NewServer(agent{row.names})
			defer server.Close()
			for _, strict := range []bool{true, false} {
				warnings, mistakes := askConsul(t.Context(), parse(t, askingForMany, fmt.Sprintf("address = %q", server.URL)), strict)
				if got, want := strings.Join(warnings, "\n"), strings.Join(row.want, "\n"); got != want || len(mistakes) != 0 {
					t.Errorf("strict is %v: got\n%s\nmistakes %v, want\n%s", strict, got, mistakes, want)
				}
			}
		})
	}
}

func TestWhereTheDefaultAddressComesFromIsSaidAsWell(t *testing.T) {
	file := parse(t, askingForMany, "")
	fault := &consul.Fault{Reason: consul.Unreachable, Err: context.DeadlineExceeded}
	address := consul.Origin{Setting: "address", Value: "127.0.0.1:8500", From: "the default"}
	for times, want := range map[int]string{
		3: `pointsman.hcl:4:1: no Consul agent answers at 127.0.0.1:8500: nothing came within 5s; is the agent running? Neither the file nor CONSUL_HTTP_ADDR gives another address`,
		2: `pointsman.hcl:4:1: Consul at 127.0.0.1:8500 left 2 of 3 questions unanswered: nothing came within 5s; is the agent well? Its log may tell`,
	} {
		if got := inOneLine(agentMistake(file, address, objection{fault: fault, times: times}, 3)); got != want {
			t.Errorf("%d of 3 unanswered: got\n%s\nwant\n%s", times, got, want)
		}
	}
}
