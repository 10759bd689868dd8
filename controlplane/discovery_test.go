package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/pointsman/pointsman/controlplane/config"
	"github.com/pointsman/pointsman/controlplane/discovery/consul"
)

// quiet notes the first questions of watches, answers them with nobody, and then
// waits like Consul does.
type quiet struct{ asked chan<- string }

func (q quiet) Read(ctx context.Context, query consul.Query, ask consul.Ask) (consul.Reply, error) {
	if ask.Index > 0 {
		<-ctx.Done()
		return consul.Reply{}, ctx.Err()
	}
	if !ask.Consistent {
		q.asked <- query.Filter
	}
	return consul.Reply{Index: 7}, nil
}

func parse(t *testing.T, format string, args ...any) *config.File {
	t.Helper()
	file, err := config.Parse("pointsman.hcl", fmt.Appendf(nil, format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

const asking = `
interfaces = ["lo"]
vip_pools  = ["2001:db8:feed::/64"]
consul { address = "%s" }
service "web" {
  listen = ["[2001:db8:feed::10]:443/tcp"]
  consul { filter = "%s" }
}
`

func TestDiscoveryFollowsTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened []string
		asked := make(chan string, 100)
		d := newDiscovery(func(s consul.Settings) (consul.Querier, error) {
			opened = append(opened, s.Address)
			return quiet{asked}, nil
		}, func(consul.View) {}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()

		set := func(address, filter string) string {
			name := d.Set(parse(t, asking, address, filter))["web"]
			synctest.Wait()
			return name
		}
		first := set("http://one:8500", "x == y")
		if again := set("http://one:8500", "x == y"); again != first || len(asked) != 1 || len(opened) != 1 {
			t.Errorf("the same question is asked once, under one name: %q, %q, %d times, %v", first, again, len(asked), opened)
		}
		if other := set("http://one:8500", "a == b"); other == first || len(asked) != 2 || len(opened) != 1 {
			t.Errorf("another question has another name and the same connection: %q, %d times, %v", other, len(asked), opened)
		}
		set("http://two:8500", "a == b")
		if len(opened) != 2 || opened[1] != "http://two:8500" {
			t.Errorf("another Consul is another connection: %v", opened)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
