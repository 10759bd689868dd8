package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// UnreachableError says that no daemon answers on the socket.
type UnreachableError struct {
	Socket string
	Err    error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("no daemon answers on %s: %v", e.Socket, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Client asks a daemon. Its errors are *UnreachableError, *Problem, or what
// went wrong on the way.
type Client struct {
	socket   string
	http     http.Client
	patience time.Duration // for an answer, beyond what is waited for by agreement
}

// patience is far more than a daemon takes that is well; one that hangs takes for ever.
const patience = 30 * time.Second

// NewClient returns a client of the daemon that listens on the socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, &UnreachableError{Socket: socket, Err: err}
		}
		return conn, nil
	}
	return &Client{socket: socket, patience: patience, http: http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

// Status asks for the daemon on one page.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.get(ctx, "/v1/status", &status)
	return status, err
}

// Services asks for all services.
func (c *Client) Services(ctx context.Context) (Services, error) {
	var list Services
	err := c.get(ctx, "/v1/services", &list)
	return list, err
}

// Backends asks for the backends of one service, or of all if service is "".
func (c *Client) Backends(ctx context.Context, service string) (Backends, error) {
	path := "/v1/backends"
	if service != "" {
		path += "?service=" + url.QueryEscape(service)
	}
	var list Backends
	err := c.get(ctx, path, &list)
	return list, err
}

// Reload has the daemon read its configuration again. Mistakes in it are a
// *Problem that lists them.
func (c *Client) Reload(ctx context.Context, r ReloadRequest) (Reload, error) {
	var done Reload
	err := c.post(ctx, "/v1/reload", r, &done)
	return done, err
}

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.ask(ctx, 0, http.MethodGet, path, nil, into)
}

func (c *Client) post(ctx context.Context, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing the request to %s: %w", path, err)
	}
	return c.ask(ctx, 0, http.MethodPost, path, bytes.NewReader(text), into)
}

// ask asks, and reads the answer, which may be waited for.
func (c *Client) ask(ctx context.Context, wait time.Duration, method, path string, body io.Reader, into any) error {
	limit := wait + c.patience
	inTime, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	response, err := c.open(inTime, method, path, body)
	if err == nil {
		defer response.Body.Close()
		if err = json.NewDecoder(response.Body).Decode(into); err != nil {
			err = fmt.Errorf("reading the answer to %s: %w", path, err)
		}
	}
	if err != nil && inTime.Err() != nil && ctx.Err() == nil {
		return &UnreachableError{Socket: c.socket, Err: fmt.Errorf("it is there, but %s has had no answer in %v", path, limit)}
	}
	return err
}

// open asks, and leaves a good answer to be read and closed.
func (c *Client) open(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://pointsman"+path, body)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	problem := &Problem{Status: response.StatusCode, Detail: response.Status}
	if err := json.NewDecoder(response.Body).Decode(problem); err != nil {
		return nil, fmt.Errorf("reading the answer %s to %s: %w", response.Status, path, err)
	}
	return nil, problem
}
