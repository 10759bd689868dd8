package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// suspicious is a daemon that counts what was wished of it.
type suspicious struct {
	complete
	wishes *atomic.Int32
}

func (s suspicious) Override(kind string, r OverrideRequest, by string) (Override, error) {
	s.wishes.Add(1)
	return s.complete.Override(kind, r, by)
}

func (s suspicious) Lift(kind string, r LiftRequest, by string) (Override, error) {
	s.wishes.Add(1)
	return s.complete.Lift(kind, r, by)
}

func (s suspicious) Clear(r ClearRequest, by string) (Overrides, error) {
	s.wishes.Add(1)
	return s.complete.Clear(r, by)
}

func (s suspicious) Reload(ctx context.Context, by string) (Reload, error) {
	s.wishes.Add(1)
	return s.complete.Reload(ctx, by)
}

// both are the handlers of the socket and of TCP.
func both(wishes *atomic.Int32) (socket, web http.Handler) {
	s := suspicious{wishes: wishes}
	return newRouter(questions(s), s.wishRoutes()), WebHandler(s, NewTimings(), slog.New(slog.DiscardHandler))
}

// wishRoutes leaves out the stream, which would go on.
func (s suspicious) wishRoutes() []route {
	all := wishes(s)
	for i := range all {
		if all[i].path == "/v1/drops" {
			all[i].handle = func(w http.ResponseWriter, _ *http.Request) { conclude(w, Drop{}, nil) }
		}
	}
	return all
}

// assertProblem holds that an answer of 400 and more is a problem document that says
// why.
func assertProblem(t *testing.T, about string, answer *httptest.ResponseRecorder) {
	t.Helper()
	var problem Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &problem); err != nil || problem.Status != answer.Code || problem.Detail == "" || problem.Title == "" || problem.Type == "" ||
		answer.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s is answered with %d, %s: %s", about, answer.Code, answer.Header().Get("Content-Type"), answer.Body)
	}
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	const drain = `{"service": "web", "address": "10.20.0.12", "ttl": "1h"}`
	for _, row := range []struct {
		promise, method, target, body string
		socket, web                   int
	}{
		{"a wish is taken on the socket alone", "POST", "/v1/drain", drain, 200, 403},
		{"so is what costs much", "GET", "/v1/plan", "", 200, 403},
		{"nothing", "POST", "/v1/drain", "", 400, 403},
		{"half of it", "POST", "/v1/drain", "{", 400, 403},
		{"no object", "POST", "/v1/drain", "[1]", 400, 403},
		{"another type", "POST", "/v1/drain", `{"service": 7}`, 400, 403},
		{"an unknown key", "POST", "/v1/drain", `{"servcie": "web"}`, 400, 403},
		{"a weight that is no weight", "POST", "/v1/weight", `{"weight": -1}`, 400, 403},
		{"two at once", "POST", "/v1/drain", drain + drain, 400, 403},
		{"depth", "POST", "/v1/drain", strings.Repeat("[", 60000), 400, 403},
		{"too much", "POST", "/v1/drain", `{"reason": "` + strings.Repeat("x", maxRequestBytes) + `"}`, 413, 403},
		{"a question as a wish", "POST", "/v1/status", drain, 405, 405},
		{"a wish as a question", "GET", "/v1/drain", "", 405, 405},
		{"other methods", "DELETE", "/v1/overrides", "", 405, 405},
		{"methods of nobody", "BREW", "/v1/status", "", 405, 405},
		{"HEAD is a question", "HEAD", "/v1/status", "", 200, 200},
		{"a path of nothing", "GET", "/v2/status", "", 404, 404},
		{"one that goes up", "GET", "/v1/../v1/status", "", 404, 404},
		{"one that stays", "GET", "/v1/./status", "", 404, 404},
		{"one with two slashes", "GET", "//v1/status", "", 404, 404},
		{"one that ends in a slash", "GET", "/v1/status/", "", 404, 404},
		{"one that is written otherwise", "GET", "/v1/%73tatus", "", 404, 404},
		{"with a hidden slash", "GET", "/v1%2Fstatus", "", 404, 404},
		{"with a hidden zero", "GET", "/v1/status%00", "", 404, 404},
		{"in capitals", "GET", "/V1/STATUS", "", 404, 404},
		{"files", "GET", "/../../etc/passwd", "", 404, 404},
		{"a proxy's request is one for us", "GET", "http://elsewhere/v1/status", "", 200, 200},
		{"a parameter that is none", "GET", "/v1/backends?servcie=web", "", 400, 400},
		{"one of another path", "GET", "/v1/status?service=web", "", 400, 400},
		{"one that is given twice", "GET", "/v1/backends?service=web&service=dns", "", 400, 400},
		{"one that cannot be read", "GET", "/v1/backends?service=%zz", "", 400, 400},
		{"semicolons", "GET", "/v1/backends?service=web;x=1", "", 400, 400},
		{"a service that is not there", "GET", "/v1/backends?service=wbe", "", 404, 404},
	} {
		t.Run(row.promise, func(t *testing.T) {
			var count atomic.Int32
			socket, web := both(&count)
			for _, side := range []struct {
				name    string
				handler http.Handler
				want    int
			}{{"TCP", web, row.web}, {"the socket", socket, row.socket}} {
				answer := httptest.NewRecorder()
				side.handler.ServeHTTP(answer, httptest.NewRequest(row.method, row.target, strings.NewReader(row.body)))
				if answer.Code != side.want {
					t.Errorf("%s answers with %d, want %d: %s", side.name, answer.Code, side.want, answer.Body)
				}
				if answer.Code >= 400 {
					assertProblem(t, side.name, answer)
				}
				if answer.Code == http.StatusMethodNotAllowed && answer.Header().Get("Allow") == "" {
					t.Error("it does not say what is allowed")
				}
				if side.name == "TCP" && count.Load() != 0 {
					t.Error("a wish went through over TCP")
				}
			}
		})
	}
}

func TestATableIsWaitedForUntilItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := make(chan struct{})
		source := &generational{next: next}
		source.n.Store(7)
		for _, row := range []struct {
			promise, query string
			changes, waits time.Duration
			header         string
		}{
			{"no longer than it may", "?generation=7&wait=30s", 0, 30 * time.Second, "7"},
			{"not if it has changed already", "?generation=6&wait=30s", 0, 0, "7"},
			{"nor if it is of an earlier daemon", "?generation=9&wait=30s", 0, 0, "7"},
			{"nor without a time", "?generation=7", 0, 0, "7"},
			{"else until it does", "?generation=7&wait=10m", time.Minute, time.Minute, "8"},
		} {
			if row.changes > 0 {
				time.AfterFunc(row.changes, func() { source.n.Add(1); close(next) })
			}
			began, answer := time.Now(), httptest.NewRecorder()
			newRouter(questions(source)).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/v1/services"+row.query, nil))
			if took := time.Since(began); answer.Code != http.StatusOK || took != row.waits || answer.Header().Get(GenerationHeader) != row.header {
				t.Errorf("%s: %d, generation %s after %s", row.promise, answer.Code, answer.Header().Get(GenerationHeader), took)
			}
		}
	})
}

type generational struct {
	fixed
	n    atomic.Uint64
	next chan struct{}
}

func (g *generational) Generation() (uint64, <-chan struct{}) { return g.n.Load(), g.next }

func TestASlowClientIsNotWaitedFor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	log := &logged{lines: make(chan string, 10)}
	web := NewWeb(address, WebHandler(complete{}, NewTimings(), slog.New(slog.DiscardHandler)), slog.New(slog.NewTextHandler(log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- web.Run(ctx) }()
	log.next(t)
	socket := serve(t)

	// All begin a request and say no more; others are answered meanwhile, and each of
	// them is let go.
	var slow sync.WaitGroup
	for _, begun := range []struct{ network, address, text string }{
		{"tcp", address, "GET /v1/sta"},
		{"tcp", address, "GET /v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: "},
		{"unix", socket, "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Le"},
		{"unix", socket, "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"service\": "},
		{"unix", socket, "POST /v1/drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"},
	} {
		conn, err := net.Dial(begun.network, begun.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, begun.text); err != nil {
			t.Fatal(err)
		}
		slow.Go(func() {
			// It is closed, with an answer or without, and perhaps with what was not read.
			if text, _ := io.ReadAll(conn); bytes.Contains(text, []byte(" 200 ")) {
				t.Errorf("%q is answered with %q", begun.text, text)
			}
		})
	}
	if answer, err := http.Get("http://" + address + "/healthz"); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("meanwhile another is answered with %v, %v", answer, err)
	}
	if _, err := NewClient(socket).Override(t.Context(), "drain", OverrideRequest{Service: "web"}); err != nil {
		t.Errorf("meanwhile another's wish: %v", err)
	}
	slow.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAHeaderWithoutEndIsRefused(t *testing.T) {
	conn, err := net.Dial("unix", serve(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		request := io.MultiReader(strings.NewReader("GET /v1/status HTTP/1.1\r\nHost: x\r\nX: "), endless{})
		_, _ = io.Copy(conn, request) // until it is closed
	}()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %v, %v", answer, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestManyWishesAtOnceAreAllTaken(t *testing.T) {
	client := NewClient(serve(t))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := client.Override(t.Context(), "drain", OverrideRequest{Service: "web", Address: "10.20.0.12"}); err != nil {
				t.Error(err)
			}
			var problem *Problem
			if _, err := client.Lift(t.Context(), "undrain", LiftRequest{Address: "x"}); !errors.As(err, &problem) || problem.Status != http.StatusConflict {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// FuzzRequests lets anybody send anything: over TCP nothing is wished, and whatever
// is refused is refused in a problem document.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/backends?service=web&wait=1ms&generation=7 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/events?generation=18446744073709551615 HTTP/1.0\r\n\r\n",
		"GET /v1/explain?protocol=tcp&client=[2001:db8::7]:1&to=[2001:db8::10]:443 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/flows?vip=192.0.2.10/24:1-9/udp&client=::/0&limit=-1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/../%2e%2e/etc/passwd?strict=1;%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v1/weight HTTP/1.1\r\nHost: x\r\nContent-Length: 27\r\n\r\n{\"service\":\"web\",\"weight\":7}",
		"POST /v1/drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /v1/overrides/clear HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var count atomic.Int32
		socket, web := both(&count)
		for i, side := range []http.Handler{web, socket} {
			request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				return
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // who waits has gone
			answer := httptest.NewRecorder()
			side.ServeHTTP(answer, request.WithContext(ctx))
			if answer.Code >= 400 {
				assertProblem(t, string(raw), answer)
			} else if answer.Code != http.StatusOK {
				t.Errorf("answered with %d", answer.Code)
			}
			if count.Load() != 0 && request.Method != http.MethodPost {
				t.Error("a question changed something")
			}
			if i == 0 && count.Load() != 0 {
				t.Error("something was wished over TCP")
			}
		}
	})
}
