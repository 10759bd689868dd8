package api

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stated is a daemon in a state.
type stated struct {
	complete
	status Status
}

func (s stated) Status() Status { return s.status }

func TestReadyIsWhoForwards(t *testing.T) {
	native := []Interface{{Name: "eth0", Mode: "native"}}
	for _, row := range []struct {
		promise       string
		status        Status
		ready, strict string // the reason why not
	}{
		{"attached, with a view of each service", Status{Interfaces: native, Services: ServiceCounts{OK: 2}}, "", ""},
		{"a service whose backends are all down is known", Status{Interfaces: native, Services: ServiceCounts{Down: 1}}, "", ""},
		{"a file without services", Status{Interfaces: native}, "", ""},
		{"not attached yet", Status{Interfaces: []Interface{{Name: "eth0", Mode: "missing", Reason: "no such interface"}}}, "eth0 is not attached: no such interface", "eth0 is not attached"},
		{"no view of any service", Status{Interfaces: native, Services: ServiceCounts{Waiting: 1}}, "nothing is known", "nothing is known"},
		{"no view of one service", Status{Interfaces: native, Services: ServiceCounts{Waiting: 1, OK: 1}}, "", "of 1 services"},
		{"a stale view", Status{Interfaces: native, Services: ServiceCounts{OK: 1}, Consul: &ConsulStatus{State: "stale"}}, "", "Consul's view of some service is stale"},
		{"a file with mistakes", Status{Interfaces: native, Config: ConfigStatus{Error: "line 3"}}, "", "the file has mistakes"},
		{"tables that cannot be written", Status{Interfaces: native, LastApply: &Apply{Error: "no room"}}, "", "no room"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			for path, want := range map[string]string{"/readyz": row.ready, "/readyz?strict=1": row.strict} {
				answer := get(stated{status: row.status}, path)
				if ok := answer.Code == http.StatusOK; ok != (want == "") || !strings.Contains(answer.Body.String(), want) {
					t.Errorf("%s is answered with %d: %s", path, answer.Code, answer.Body)
				}
			}
		})
	}
}

func TestAnAddressThatIsTakenIsToldInASentenceAndHadOnceItIsFree(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{lines: make(chan string, 10)}
	address := other.Addr().String()
	web := NewWeb(address, WebHandler(complete{}, NewTimings(), slog.New(slog.DiscardHandler)), slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- web.Run(ctx) }()

	want := fmt.Sprintf("another process listens on %s; stop it, or give http_listen another address", address)
	if line := log.next(t); !strings.Contains(line, want) || web.Problem() != want {
		t.Errorf("the log says %s and the problem is %q", line, web.Problem())
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if line := log.next(t); !strings.Contains(line, "metrics are served") || web.Problem() != "" {
		t.Errorf("the log says %s and the problem is %q", line, web.Problem())
	}
	answer, err := http.Get("http://" + address + "/healthz")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("the answer is %v, %v", answer, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// logged is a log whose lines are waited for.
type logged struct{ lines chan string }

func (l *logged) Write(line []byte) (int, error) {
	l.lines <- string(bytes.Clone(line))
	return len(line), nil
}

func (l *logged) next(t *testing.T) string {
	select {
	case line := <-l.lines:
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is logged")
		return ""
	}
}
