package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type fixed struct{}

func (fixed) Status() Status { return Status{State: "ok", PID: 7} }
func (fixed) Services() []ServiceBackends {
	return []ServiceBackends{
		{Service: Service{Name: "dns"}, Backends: []Backend{{Address: "10.20.0.11:53"}}},
		{Service: Service{Name: "web"}, Backends: []Backend{{Address: "10.20.0.12:443"}}},
	}
}

func (fixed) Drain(r DrainRequest, by string) (Override, error) {
	switch r.Service {
	case "web":
		return Override{Service: r.Service, Address: r.Address, Kind: "drain", Reason: r.Reason, By: by}, nil
	case "full":
		return Override{}, errors.New("the disk is full")
	}
	return Override{}, NewProblem(http.StatusNotFound, "there is no service "+r.Service)
}

func (fixed) Undrain(r UndrainRequest, by string) (Override, error) {
	return Override{}, NewProblem(http.StatusConflict, "no operator drains "+r.Address)
}

// serve runs a server on a socket of its own and returns the socket.
func serve(t *testing.T) string {
	socket := filepath.Join(t.TempDir(), "sub", "s.sock")
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
	return socket
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
		Handler(fixed{}).ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
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
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
}
