package consul

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// transport is HTTP/2 over TLS, where a thousand watches need five connections;
// pings find a connection that died silently, since it would blind them all.
func (e effective) transport(dial dial) (*http.Transport, error) {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	t := &http.Transport{
		DialContext:         dial,
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		// On plain HTTP each watch has a connection, which is idle between
		// questions. Closing and dialling again would double their number.
		MaxIdleConnsPerHost: 1024,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second},
		// No Proxy: one that is meant for the web would break waiting requests.
	}
	switch e.scheme {
	case "http":
	case "unix":
		path := e.address
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, "unix", path) }
	case "https":
		config, err := e.tls()
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = config
	default:
		return nil, fmt.Errorf("address %s://%s of Consul: the scheme must be https, http or unix", e.scheme, e.address)
	}
	return t, nil
}

func (e effective) tls() (*tls.Config, error) {
	config, err := api.SetupTLSConfig(&api.TLSConfig{
		Address: e.serverName, CAFile: e.caFile, CAPath: e.caPath, InsecureSkipVerify: e.skipVerify,
	})
	if err != nil {
		return nil, fmt.Errorf("reading the authorities that sign Consul's certificate: %w", err)
	}
	if (e.certFile == "") != (e.keyFile == "") {
		return nil, errors.New("a client certificate for Consul needs both cert_file and key_file")
	}
	if e.certFile == "" {
		return config, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(e.certFile, e.keyFile)
		if err != nil {
			return nil, fault(BadCert, "reading the client certificate for Consul: %w", err)
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	// Read at every handshake, so that a renewed certificate needs no reload.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	return config, nil
}

// turnstile lets one request at a time look for a connection. Without it two
// hundred watches that start together dial sixty connections before the first
// is ready to be shared, and a thousand would run into the agent's limit.
type turnstile struct {
	next http.RoundTripper
	turn chan struct{} // holds a token while a request is looking
}

func oneDialAtATime(next http.RoundTripper) *turnstile {
	return &turnstile{next: next, turn: make(chan struct{}, 1)}
}

// RoundTrip holds the turn until the request has its connection.
func (t *turnstile) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case t.turn <- struct{}{}:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	pass := sync.OnceFunc(func() { <-t.turn })
	defer pass() // also where no connection was had
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { pass() }}
	return t.next.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
}
