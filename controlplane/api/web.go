package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// missing is the mode of an interface whose packets the program does not see.
const missing = "missing"

// WebHandler answers where nothing can be changed: the questions of this package,
// metrics, and a page for people.
func WebHandler(source Measured, timings *Timings, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics{source})
	timings.register(registry)
	scrapes := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), MaxRequestsInFlight: 4,
	})
	return newRouter(questions(source), refused(wishes(nil)), pages(source), []route{
		{method: http.MethodGet, path: "/metrics", query: anyQuery, handle: scrapes.ServeHTTP},
	})
}

func readiness(source Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if why := unready(source.Status(), r.URL.Query().Get("strict") == "1"); why != "" {
			refuse(w, http.StatusServiceUnavailable, why)
			return
		}
		fmt.Fprintln(w, "ready")
	}
}

// unready says why no packets should be sent here; "" where they should. A strict
// question wants a view that is not out of date, and tables as the file has them.
func unready(status Status, strict bool) string {
	for _, i := range status.Interfaces {
		if i.Mode == missing {
			return fmt.Sprintf("interface %s is not attached: %s", i.Name, i.Reason)
		}
	}
	known := status.Services.OK + status.Services.Degraded + status.Services.Down
	if known == 0 && status.Services.Waiting > 0 {
		return "nothing is known of any service's backends yet"
	}
	switch {
	case !strict:
	case status.Services.Waiting > 0:
		return fmt.Sprintf("nothing is known of the backends of %d services yet", status.Services.Waiting)
	case status.Consul != nil && status.Consul.State != "ok":
		return "Consul's view of some service is " + status.Consul.State
	case status.Config.Error != "":
		return "the file has mistakes, and the one before it goes on"
	case status.LastApply != nil && status.LastApply.Error != "":
		return "the tables could not be written: " + status.LastApply.Error
	}
	return ""
}

// mostConnections keeps files for Consul and the kernel, however many come.
const mostConnections = 256

// retryListening is how long to wait where an address cannot be had.
const retryListening = time.Second

// Web answers over TCP. Forwarding needs nothing of it.
type Web struct {
	address string
	handler http.Handler
	log     *slog.Logger
	problem atomic.Pointer[string]
}

// NewWeb returns what answers on ADDRESS:PORT while Run runs; for "" it is nil,
// which answers nobody.
func NewWeb(address string, handler http.Handler, log *slog.Logger) *Web {
	if address == "" {
		return nil
	}
	return &Web{address: address, handler: handler, log: log}
}

// Problem says why nobody is answered, or "".
func (w *Web) Problem() string {
	if w == nil || w.problem.Load() == nil {
		return ""
	}
	return *w.problem.Load()
}

// Run answers until the context is over. An address that cannot be had is tried
// again, for as long as it takes.
func (w *Web) Run(ctx context.Context) error {
	for w != nil && ctx.Err() == nil {
		err := w.serve(ctx)
		if err == nil {
			return nil
		}
		if problem := w.explain(err); problem != w.Problem() {
			w.problem.Store(&problem)
			w.log.Error("metrics are not served, which is tried again each second", "address", w.address, "reason", problem)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryListening):
		}
	}
	return nil
}

func (w *Web) serve(ctx context.Context) error {
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		return err
	}
	w.problem.Store(nil)
	w.log.Info("metrics are served", "address", w.address)
	server := newServer(w.handler)
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(netutil.LimitListener(listener, mostConnections)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// explain is the sentence for people.
func (w *Web) explain(err error) string {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf("another process listens on %s; stop it, or give http_listen another address", w.address)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Sprintf("no interface has the address of %s; give http_listen another one", w.address)
	}
	return err.Error()
}
