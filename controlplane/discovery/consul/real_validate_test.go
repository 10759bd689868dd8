package consul

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	agents "github.com/pointsman/pointsman/test/consul"
)

func TestConsulValidateSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	agent := startAgent(t, agents.Options{ACL: true})
	setup := &real{T: t, agent: agent}
	setup.register("a")
	file := func(name, rules string) string {
		path, _ := (&real{T: t, agent: agent}).grant(name, rules)
		return path
	}
	unknown := filepath.Join(t.TempDir(), "token")
	setup.must(os.WriteFile(unknown, []byte("c0ffee00-0000-4000-8000-00000000dead"), 0o600))
	both := file("both", serviceRight+"\n"+nodeRight)
	nodes, services, neither := file("nodes", nodeRight), file("services", serviceRight), file("neither", "")
	onlyWeb := file("only-web", `service "web" { policy = "read" }`+"\n"+nodeRight)

	for _, row := range []struct {
		promise string
		token   string
		query   Query
		reason  Reason
		says    []string
		silent  []string
	}{
		{"all is well", both, Query{Service: "web"}, "", nil, nil},
		{"a service that is not there yet may come", both, Query{Service: "later"}, Nobody, []string{`Consul knows no instance of "later"`}, []string{"tags", "filter"}},
		{"a good filter", both, Query{Service: "web", Filter: `Service.Meta.version != "2"`}, "", nil, nil},
		{"a good filter that nobody passes", both, Query{Service: "web", Filter: `Service.Meta.version == "2"`}, Nobody, []string{`"web" that passes the filter`}, nil},
		{"a tag that nobody has", both, Query{Service: "web", Tags: []string{"blue"}}, Nobody, []string{`"web" with tags blue`}, nil},
		{"a right to this service alone is enough", onlyWeb, Query{Service: "web"}, "", nil, nil},
		{"a filter on a field that is not there", both, Query{Service: "web", Filter: `Servce.ID == "a"`}, BadQuery, []string{"Servce", "filter"}, nil},
		{"a filter that does not parse", both, Query{Service: "web", Filter: `Service.ID ==`}, BadQuery, []string{"filter"}, nil},
		{"a tagged address that is none", both, Query{Service: "web", TaggedAddress: "virtual"}, BadQuery, []string{"virtual"}, nil},
		{"services may not be read", nodes, Query{Service: "web"}, Filtered, []string{serviceRight}, []string{nodeRight}},
		{"nodes may not be read", services, Query{Service: "web"}, Filtered, []string{nodeRight}, []string{serviceRight}},
		{"neither may be read", neither, Query{Service: "web"}, Filtered, []string{serviceRight, nodeRight}, nil},
		{"nodes may not be read, found although there are no instances", services, Query{Service: "later"}, Filtered, []string{nodeRight}, []string{serviceRight}},
		{"services may not be read, found although there are no instances", nodes, Query{Service: "later"}, Filtered, []string{serviceRight}, []string{nodeRight}},
		{"a token that Consul does not know", unknown, Query{Service: "web"}, Forbidden, []string{"does not know the token"}, nil},
		{"a token file that is not there", "/nonexistent/token", Query{Service: "web"}, NoToken, []string{"/nonexistent/token"}, nil},
		{"no token where everything is denied", "", Query{Service: "web"}, NoToken, []string{"token_file"}, nil},
	} {
		t.Run(row.promise, func(t *testing.T) {
			c, err := open(Settings{Address: agent.HTTP, TokenFile: row.token}, environ(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Validate(t.Context(), row.query)
			if row.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var f *Fault
			if !errors.As(err, &f) || f.Reason != row.reason || f.Temporary() != (row.reason == Nobody) {
				t.Fatalf("error is %v, want the reason %q", err, row.reason)
			}
			for _, part := range row.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			for _, part := range row.silent {
				if strings.Contains(err.Error(), part) {
					t.Errorf("%q says %q", err, part)
				}
			}
		})
	}
	for token, want := range map[string][]string{both: {"consul", "web"}, onlyWeb: {"web"}, nodes: {}} {
		c, err := open(Settings{Address: agent.HTTP, TokenFile: token}, environ(), nil)
		setup.must(err)
		if got, err := c.Names(t.Context(), Query{Service: "wbe"}); err != nil || !slices.Equal(got, want) {
			t.Errorf("a token is shown the names %q, %v; want %q", got, err, want)
		}
		c.Close()
	}
	setup.must(agent.Kill())
	c, err := open(Settings{Address: agent.HTTP, TokenFile: both}, environ(), nil)
	setup.must(err)
	var f *Fault
	if err := c.Validate(t.Context(), Query{Service: "web"}); !errors.As(err, &f) || f.Reason != Unreachable || !f.Temporary() {
		t.Errorf("with the agent gone: %v", err)
	}
}
