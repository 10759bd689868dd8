package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/pointsman/pointsman/dataplane"
)

// Source is what the server asks. Its answers are snapshots that nobody
// changes any more.
type Source interface {
	Status() Status
	// Services are all services with their backends, sorted by name.
	Services() []ServiceBackends
	// Flows are the connections that the filter wants, in a state unless that is "",
	// and at most limit of them unless that is 0.
	Flows(filter dataplane.PacketFilter, state string, limit int) (Flows, error)
	// Explain says where a client's packets to an exact VIP go. An error of type
	// *Problem is the answer.
	Explain(client netip.AddrPort, to dataplane.VIP) (Explanation, error)
	Chronicler
	Generations
	// Overrides are what operators want, of a service and a backend unless they are "".
	Overrides(service, address string) (Overrides, error)
	// Rates are those of the last minutes, of one service unless it is "".
	Rates(service string) (RateHistory, error)
}

// questions are what can be asked where nothing can be changed.
func questions(source Source) []route {
	return []route{
		{method: http.MethodGet, path: "/v1/status", polled: true, handle: polled(source, func(w http.ResponseWriter, _ *http.Request) {
			status := source.Status()
			status.SchemaVersion = SchemaVersion
			answer(w, http.StatusOK, "application/json", status)
		})},
		{method: http.MethodGet, path: "/v1/services", polled: true, handle: polled(source, func(w http.ResponseWriter, _ *http.Request) {
			list := Services{SchemaVersion: SchemaVersion, Services: []Service{}}
			for _, s := range source.Services() {
				list.Services = append(list.Services, s.Service)
			}
			answer(w, http.StatusOK, "application/json", list)
		})},
		{method: http.MethodGet, path: "/v1/backends", query: []string{"service"}, polled: true, handle: polled(source, func(w http.ResponseWriter, r *http.Request) {
			list, err := selectBackends(source.Services(), r.URL.Query().Get("service"))
			if err != nil {
				refuse(w, http.StatusNotFound, err.Error())
				return
			}
			answer(w, http.StatusOK, "application/json", list)
		})},
		{method: http.MethodGet, path: "/v1/overrides", query: []string{"service", "address"}, polled: true, handle: polled(source, overrides(source))},
		{method: http.MethodGet, path: "/v1/events", query: []string{"service"}, polled: true, handle: events(source)},
		{method: http.MethodGet, path: "/v1/rates", query: []string{"service"}, handle: rates(source)},
		{method: http.MethodGet, path: "/v1/flows", query: []string{"vip", "client", "state", "limit"}, handle: flows(source)},
		{method: http.MethodGet, path: "/v1/explain", query: []string{"protocol", "client", "to"}, handle: explain(source)},
		{method: http.MethodGet, path: "/healthz", handle: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") }},
		{method: http.MethodGet, path: "/readyz", query: []string{"strict"}, handle: readiness(source)},
	}
}

// selectBackends takes one service by name, or all if name is empty.
func selectBackends(all []ServiceBackends, name string) (Backends, error) {
	list := Backends{SchemaVersion: SchemaVersion, Services: []ServiceBackends{}}
	for _, s := range all {
		if name == "" || s.Name == name {
			list.Services = append(list.Services, s)
		}
	}
	if name != "" && len(list.Services) == 0 {
		return Backends{}, fmt.Errorf("there is no service %q", name)
	}
	return list, nil
}

func refuse(w http.ResponseWriter, status int, detail string) {
	answer(w, status, "application/problem+json", NewProblem(status, detail))
}

func answer(w http.ResponseWriter, status int, kind string, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		// Views are plain values, which always marshal.
		panic(fmt.Sprintf("marshalling %T: %v", body, err))
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The only error is a client that went away.
	_, _ = w.Write(append(text, '\n'))
}

// Serve answers on the listener until the context is over, and closes it. It
// also takes the wishes of operators: who may open the socket may change things.
func Serve(ctx context.Context, listener net.Listener, daemon Daemon) error {
	server := newServer(newRouter(questions(daemon), wishes(daemon)))
	server.ConnContext = withPeer
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", listener.Addr(), err)
	}
	return nil
}

// newServer is one that neither slow nor greedy clients hold up.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{Handler: handler, ReadHeaderTimeout: readTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxRequestBytes}
}

// readTimeout is what a request's header may take to come, and then its body. No
// ReadTimeout is for both: it would end long polls.
const readTimeout = 5 * time.Second
