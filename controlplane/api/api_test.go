package api

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

type fixed struct{}

func (fixed) Status() Status { return Status{State: "ok", PID: 7} }
func (fixed) Services() []ServiceBackends {
	return []ServiceBackends{
		{Service: Service{Name: "dns"}, Backends: []Backend{{Address: "10.20.0.11:53"}}},
		{Service: Service{Name: "web"}, Backends: []Backend{{Address: "10.20.0.12:443"}}},
	}
}

func (fixed) Flows(filter dataplane.PacketFilter, state string, limit int) (Flows, error) {
	return Flows{SchemaVersion: SchemaVersion, Total: limit, Flows: []Flow{{VIP: filter.String(), State: state}}}, nil
}

func (fixed) Explain(client netip.AddrPort, to dataplane.VIP) (Explanation, error) {
	if to.Port != 443 {
		return Explanation{}, NewProblem(http.StatusNotFound, to.String()+" is no VIP")
	}
	return Explanation{SchemaVersion: SchemaVersion, Client: client.String(), VIP: to.String()}, nil
}

func (fixed) Events(service string, since uint64) (Events, <-chan struct{}) {
	list := Events{Generation: 7, Missed: since == 1, Events: []Event{}}
	if since < 7 {
		list.Events = append(list.Events, Event{ID: 7, Service: service})
	}
	return list, nil
}

func (fixed) Override(kind string, r OverrideRequest, by string) (Override, error) {
	switch r.Service {
	case "web":
		return Override{Service: r.Service, Address: r.Address, Kind: kind, Weight: r.Weight, Reason: r.Reason, By: by}, nil
	case "full":
		return Override{}, errors.New("the disk is full")
	}
	return Override{}, NewProblem(http.StatusNotFound, "there is no service "+r.Service)
}

func (fixed) Lift(kind string, r LiftRequest, by string) (Override, error) {
	return Override{}, NewProblem(http.StatusConflict, "no operator "+kind+"s "+r.Address)
}

func (fixed) Overrides(service, address string) (Overrides, error) {
	return Overrides{Overrides: []Override{{Service: service, Address: address}}}, nil
}

func (fixed) Generation() (uint64, <-chan struct{}) { return 7, nil }

func (fixed) Rates(service string) (RateHistory, error) {
	if service == "wbe" {
		return RateHistory{}, NewProblem(http.StatusNotFound, "there is no service wbe")
	}
	return RateHistory{Services: []ServiceRates{{Name: service}}}, nil
}

func (fixed) Clear(r ClearRequest, by string) (Overrides, error) {
	return Overrides{Overrides: []Override{{Service: r.Service, Address: r.Address, By: by}}}, nil
}

func (fixed) Plan(context.Context) (Plan, error) { return Plan{Path: "/etc/p.hcl", Changes: true}, nil }

func (fixed) Reload(_ context.Context, by string) (Reload, error) {
	switch by {
	case "ada as " + me():
		return Reload{SchemaVersion: 1, Path: "/etc/p.hcl", Services: 2, Warnings: []string{"by " + by}}, nil
	case "slow as " + me():
		return Reload{}, errors.New("the host's interfaces cannot be listed")
	}
	problem := NewProblem(http.StatusUnprocessableEntity, "/etc/p.hcl has mistakes")
	problem.Mistakes = []Mistake{{File: "/etc/p.hcl", Line: 3, Column: 7, Source: "foo = 1", Summary: "unknown key", Detail: "did you mean bar?"}}
	return Reload{}, problem
}

// Drops tells of what it was asked for, and of one drop.
func (fixed) Drops(ctx context.Context, reasons []string, filter dataplane.PacketFilter, tell func(Drop) error) error {
	if len(reasons) > 1 {
		return NewProblem(http.StatusNotFound, "there is no "+reasons[1])
	}
	if err := errors.Join(tell(Drop{}), tell(Drop{Reason: reasons[0], Destination: filter.String(), NotShown: 3})); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func me() string { return userName(strconv.Itoa(os.Geteuid())) }

// serve runs a server on a socket of its own and returns the socket.
func serve(t *testing.T) string {
	socket, _ := served(t)
	return socket
}

// served can be ended before the test is over.
func served(t *testing.T) (socket string, end func()) {
	socket = filepath.Join(t.TempDir(), "sub", "s.sock")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, listener, fixed{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return socket, cancel
}

func TestAClientReadsWhatTheSourceSays(t *testing.T) {
	client := NewClient(serve(t))
	status, err := client.Status(t.Context())
	if err != nil || status.PID != 7 || status.SchemaVersion != SchemaVersion {
		t.Errorf("status is %+v, %v", status, err)
	}
	services, err := client.Services(t.Context())
	if err != nil || len(services.Services) != 2 || services.Services[0].Name != "dns" {
		t.Errorf("services are %+v, %v", services, err)
	}
	all, err := client.Backends(t.Context(), "")
	if err != nil || len(all.Services) != 2 {
		t.Errorf("all backends are %+v, %v", all, err)
	}
	web, err := client.Backends(t.Context(), "web")
	if err != nil || len(web.Services) != 1 || web.Services[0].Backends[0].Address != "10.20.0.12:443" {
		t.Errorf("the backends of web are %+v, %v", web, err)
	}
}

func TestAServiceThatIsNotThereIsAProblemDocument(t *testing.T) {
	_, err := NewClient(serve(t)).Backends(t.Context(), "wbe")
	var problem *Problem
	if !errors.As(err, &problem) || problem.Status != http.StatusNotFound || problem.Detail != `there is no service "wbe"` {
		t.Errorf("got %v", err)
	}
}

func TestEveryErrorIsAProblemDocument(t *testing.T) {
	for _, request := range []string{"GET /v1/backends?service=x", "GET /", "POST /v1/status", "GET /v2/status"} {
		method, path, _ := strings.Cut(request, " ")
		recorder := httptest.NewRecorder()
		newRouter(questions(fixed{})).ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
		if recorder.Code < 400 {
			t.Errorf("%s is answered with %d", request, recorder.Code)
		}
		if kind := recorder.Header().Get("Content-Type"); kind != "application/problem+json" {
			body, _ := io.ReadAll(recorder.Body)
			t.Errorf("%s is answered with %s: %s", request, kind, body)
		}
	}
}

func TestNoDaemonIsAnErrorOfItsOwn(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "none.sock")).Status(t.Context())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) {
		t.Errorf("got %v", err)
	}
}

// A daemon that hangs still has connections taken, by its kernel.
func TestADaemonThatHangsIsNotWaitedForForEver(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "hangs.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client := NewClient(socket)
	client.patience = time.Millisecond
	_, err = client.Status(t.Context())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "no answer in 1ms") {
		t.Errorf("got %v", err)
	}
}

func TestTheSocketIsNotForEveryone(t *testing.T) {
	socket := serve(t)
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o660 {
		t.Errorf("the socket's mode is %o", mode)
	}
}

func TestASocketLeftBehindIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}

func TestAPlaceThatIsTakenIsLeftAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "diary")
	if err := os.WriteFile(file, []byte("dear diary"), 0o600); err != nil {
		t.Fatal(err)
	}
	for promise, row := range map[string]struct{ path, says string }{
		"what is no socket is not removed":        {file, file + " is there and is no socket; move it away, or name another place with --socket"},
		"a folder neither":                        {filepath.Dir(file), "is there and is no socket"},
		"another daemon's socket is not stolen":   {serve(t), "another process answers there, pid " + strconv.Itoa(os.Getpid())},
		"a place inside of a file cannot be made": {filepath.Join(file, "s.sock"), "name another place with --socket"},
		"nor can a path that is too long":         {filepath.Join(filepath.Dir(file), strings.Repeat("x", 120)), "longer than the 107 bytes"},
	} {
		if _, err := Listen(row.path); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: got %v, want %q", promise, err, row.says)
		}
	}
	if text, err := os.ReadFile(file); string(text) != "dear diary" {
		t.Errorf("the file now has %q, %v", text, err)
	}
}
