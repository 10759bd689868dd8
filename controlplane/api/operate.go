package api

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os/user"
	"strconv"

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

// operated answers the questions and takes the wishes.
func operated(daemon Daemon) http.Handler {
	mux := questions(daemon)
	mux.HandleFunc("GET /v1/drops", streamDrops(daemon))
	mux.HandleFunc("GET /v1/plan", func(w http.ResponseWriter, r *http.Request) {
		plan, err := daemon.Plan(r.Context())
		conclude(w, plan, err)
	})
	for verb, kind := range overrideVerbs {
		mux.HandleFunc("POST /v1/"+verb, wished(func(r *http.Request, wish OverrideRequest) (any, error) {
			return daemon.Override(kind, wish, asker(r, wish.By))
		}))
	}
	for verb, kind := range liftVerbs {
		mux.HandleFunc("POST /v1/"+verb, wished(func(r *http.Request, wish LiftRequest) (any, error) {
			return daemon.Lift(kind, wish, asker(r, wish.By))
		}))
	}
	mux.HandleFunc("POST /v1/overrides/clear", wished(func(r *http.Request, wish ClearRequest) (any, error) {
		return daemon.Clear(wish, asker(r, wish.By))
	}))
	mux.HandleFunc("POST /v1/reload", wished(func(r *http.Request, wish ReloadRequest) (any, error) {
		return daemon.Reload(r.Context(), asker(r, wish.By))
	}))
	return mux
}

const maxRequestBytes = 64 << 10

func decode(w http.ResponseWriter, r *http.Request, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
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
