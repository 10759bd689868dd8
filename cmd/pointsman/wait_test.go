package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

// story answers each question with the backend as it is at that time.
func story(at func(time.Duration) (api.Backend, error)) func(context.Context, string) (api.Backends, error) {
	began := time.Now()
	return func(context.Context, string) (api.Backends, error) {
		b, err := at(time.Since(began))
		if err != nil {
			return api.Backends{}, err
		}
		return api.Backends{Services: []api.ServiceBackends{{Backends: []api.Backend{{Address: "10.20.0.12:443"}, b}}}}, nil
	}
}

func draining(fallback uint32, flows int) api.Backend {
	return api.Backend{Address: "10.20.0.11:443", State: "drain", FallbackSlots: fallback, RememberedFlows: flows,
		Drain: &api.Drain{Since: noon, Empty: fallback == 0 && flows == 0}}
}

func TestWaitingForADrain(t *testing.T) {
	up := api.Backend{Address: "10.20.0.11:443", State: "up", Slots: 120}
	for _, row := range []struct {
		promise string
		timeout time.Duration
		at      func(time.Duration) (api.Backend, error)
		want    string // the error
		code    int
		waits   time.Duration
		tells   string
	}{
		{"it tells every two seconds what is left, and is over when nothing is", 0, func(after time.Duration) (api.Backend, error) {
			return draining(uint32(max(0, 100-10*after/time.Second)), int(max(0, 5-after/time.Second))), nil
		}, "", 0, 10 * time.Second, `10.20.0.11:443 of web has 100 slots and 5 remembered flows, 0s waited
10.20.0.11:443 of web has 80 slots and 3 remembered flows, 2s waited
10.20.0.11:443 of web has 60 slots and 1 remembered flows, 4s waited
10.20.0.11:443 of web has 40 slots and 0 remembered flows, 6s waited
10.20.0.11:443 of web has 20 slots and 0 remembered flows, 8s waited
`},
		{"a daemon that has not acted yet is not done", 0, func(after time.Duration) (api.Backend, error) {
			if after < time.Second {
				return up, nil
			}
			return draining(0, 0), nil
		}, "", 0, time.Second, "10.20.0.11:443 of web has 120 slots and 0 remembered flows, 0s waited\n"},
		{"what is cut is over", 0, func(time.Duration) (api.Backend, error) {
			b := draining(0, 0)
			b.State = "drained"
			return b, nil
		}, "", 0, 0, ""},
		{"and what is a backend no more", 0, func(time.Duration) (api.Backend, error) {
			return api.Backend{Address: "10.20.0.13:443"}, nil
		}, "", 0, 0, ""},
		{"the timeout says what is left", 700 * time.Millisecond, func(time.Duration) (api.Backend, error) {
			return draining(7, 8), nil
		}, "after 700ms, 10.20.0.11:443 of web still has 7 slots and 8 remembered flows; the drain goes on", exitTimeout, 700 * time.Millisecond,
			"10.20.0.11:443 of web has 7 slots and 8 remembered flows, 0s waited\n"},
		{"a drain that someone ends is no success", 0, func(after time.Duration) (api.Backend, error) {
			if after < time.Second {
				return draining(7, 8), nil
			}
			return up, nil
		}, "the drain of 10.20.0.11:443 of web was ended, by undrain or its ttl", exitFailure, time.Second,
			"10.20.0.11:443 of web has 7 slots and 8 remembered flows, 0s waited\n"},
		{"a daemon that is started anew is waited for", 0, func(after time.Duration) (api.Backend, error) {
			if after < time.Second {
				return api.Backend{}, &api.UnreachableError{Socket: "s", Err: errors.New("refused")}
			}
			return draining(0, 0), nil
		}, "", 0, time.Second, "10.20.0.11:443 of web has flows that nobody counts, since no daemon answers, 0s waited\n"},
		{"what the daemon objects to ends it", 0, func(time.Duration) (api.Backend, error) {
			return api.Backend{}, api.NewProblem(404, "there is no service web")
		}, "there is no service web", exitNotFound, 0, ""},
	} {
		t.Run(row.promise, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var progress strings.Builder
				began := time.Now()
				w := waiting{service: "web", address: "10.20.0.11:443", backends: story(row.at), progress: &progress}
				err := w.run(t.Context(), row.timeout)
				said := ""
				if err != nil {
					said = err.Error()
				}
				if code := exitCode(&strings.Builder{}, err); said != row.want || code != row.code {
					t.Errorf("got %q, exit %d; want %q, %d", said, code, row.want, row.code)
				}
				if waited := time.Since(began); waited != row.waits || progress.String() != row.tells {
					t.Errorf("waited %v and told:\n%s\nwant %v and:\n%s", waited, progress.String(), row.waits, row.tells)
				}
			})
		})
	}
}
