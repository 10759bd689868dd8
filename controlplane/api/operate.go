package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Operator is what the server asks to change. What it returns of type *Problem
// is the answer; any other error is one of the daemon's own.
type Operator interface {
	Override(kind string, r OverrideRequest, by string) (Override, error)
	Lift(kind string, r LiftRequest, by string) (Override, error)
	Clear(r ClearRequest, by string) (Overrides, error)
	// Plan says what a reload would change.
	Plan(ctx context.Context) (Plan, error)
	// Reload returns when what was read is acted on, or refused.
	Reload(ctx context.Context, by string) (Reload, error)
}

// Daemon is what the socket gives access to.
type Daemon interface {
	Source
	Operator
	Watcher
}

// wishes are what can be wished, and what is asked that costs the daemon more than
// a look. They are the socket's.
func wishes(daemon Daemon) []route {
	all := []route{
		{method: http.MethodGet, path: "/v1/drops", query: []string{"reason...", "vip", "client"}, handle: streamDrops(daemon)},
		{method: http.MethodGet, path: "/v1/plan", handle: func(w http.ResponseWriter, r *http.Request) {
			plan, err := daemon.Plan(r.Context())
			conclude(w, plan, err)
		}},
		{method: http.MethodPost, path: "/v1/overrides/clear", handle: wished(func(r *http.Request, wish ClearRequest) (any, error) {
			return daemon.Clear(wish, asker(r, wish.By))
		})},
		{method: http.MethodPost, path: "/v1/reload", handle: wished(func(r *http.Request, wish ReloadRequest) (any, error) {
			return daemon.Reload(r.Context(), asker(r, wish.By))
		})},
	}
	for verb, kind := range overrideVerbs {
		all = append(all, route{method: http.MethodPost, path: "/v1/" + verb, handle: wished(func(r *http.Request, wish OverrideRequest) (any, error) {
			return daemon.Override(kind, wish, asker(r, wish.By))
		})})
	}
	for verb, kind := range liftVerbs {
		all = append(all, route{method: http.MethodPost, path: "/v1/" + verb, handle: wished(func(r *http.Request, wish LiftRequest) (any, error) {
			return daemon.Lift(kind, wish, asker(r, wish.By))
		})})
	}
	return all
}

// refused are the same where they are not taken.
func refused(routes []route) []route {
	for i := range routes {
		routes[i].query = anyQuery
		routes[i].handle = func(w http.ResponseWriter, r *http.Request) {
			refuse(w, http.StatusForbidden, fmt.Sprintf("%s %s is answered on the unix socket alone", r.Method, r.URL.Path))
		}
	}
	return routes
}

const maxRequestBytes = 64 << 10

// wished takes a wish of type T from a request's body and answers with what came
// of it.
func wished[T any](carryOut func(r *http.Request, wish T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var wish T
		if err := decode(w, r, &wish); err != nil {
			status := http.StatusBadRequest
			if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
				status = http.StatusRequestEntityTooLarge
			}
			refuse(w, status, err.Error())
			return
		}
		done, err := carryOut(r, wish)
		conclude(w, done, err)
	}
}

// decode reads one JSON value, all of which must be understood, and nothing after it.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	// The body must come soon, and what is left of one that is refused, too: the server
	// reads that before it lets go. Once all has come, the answer may take its time.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readTimeout))
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("reading the request: there is something after its end")
	}
	_ = control.SetReadDeadline(time.Time{})
	return nil
}

func conclude(w http.ResponseWriter, done any, err error) {
	var problem *Problem
	switch {
	case errors.As(err, &problem):
		answer(w, problem.Status, "application/problem+json", problem)
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		answer(w, http.StatusOK, "application/json", done)
	}
}

// peerKey is the context's key for the user on the other end of the socket.
type peerKey struct{}

// withPeer asks the kernel who is on the other end.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, peer(conn))
}

func peer(conn net.Conn) string {
	if cred, known := credentials(conn); known {
		return userName(strconv.Itoa(int(cred.Uid)))
	}
	return "somebody"
}

// credentials are the kernel's word about the process on the other end.
func credentials(conn net.Conn) (cred *unix.Ucred, known bool) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, false
	}
	// An error would be of a socket that is closed; its request is over, too.
	_ = raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, err == nil && cred != nil
}

func userName(uid string) string {
	if known, err := user.LookupId(uid); err == nil {
		return known.Username
	}
	return "uid " + uid
}

// asker is the peer, with the one it says that it asks for.
func asker(r *http.Request, saysFor string) string {
	name, _ := r.Context().Value(peerKey{}).(string)
	if saysFor != "" && saysFor != name {
		return saysFor + " as " + name
	}
	return name
}
