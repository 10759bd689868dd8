package health

import (
	"bufio"
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// at is the backend behind a real loopback address.
func at(t *testing.T, address net.Addr) Backend {
	t.Helper()
	a, err := netip.ParseAddrPort(address.String())
	if err != nil {
		t.Fatal(err)
	}
	return Backend{"web", a.Addr().Unmap(), a.Port()}
}

// tcpServer answers each connection by calling answer, then closes it.
func tcpServer(t *testing.T, answer func(*net.TCPConn)) Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answer(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	return at(t, listener.Addr())
}

func readRequest(conn net.Conn) { http.ReadRequest(bufio.NewReader(conn)) }

func TestProbesOfRealServers(t *testing.T) {
	status := func(code int) func(*testing.T) Backend {
		return func(t *testing.T) Backend {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(code)
			}))
			t.Cleanup(s.Close)
			return at(t, s.Listener.Addr())
		}
	}
	raw := func(answer func(*net.TCPConn)) func(*testing.T) Backend {
		return func(t *testing.T) Backend { return tcpServer(t, answer) }
	}
	write := func(text string) func(*testing.T) Backend {
		return raw(func(c *net.TCPConn) { readRequest(c); io.WriteString(c, text) })
	}
	nobody := func(t *testing.T) Backend {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		return at(t, listener.Addr())
	}
	hung := raw(func(c *net.TCPConn) { io.Copy(io.Discard, c) })
	reset := raw(func(c *net.TCPConn) { readRequest(c); c.SetLinger(0) })
	endless := raw(func(c *net.TCPConn) {
		readRequest(c)
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for _, err := c.Write(make([]byte, 4096)); err == nil; {
			_, err = c.Write(make([]byte, 4096))
		}
	})

	for _, row := range []struct {
		promise string
		server  func(*testing.T) Backend
		check   Check
		found   finding
		reason  string
	}{
		{"tcp is satisfied by a connection", hung, Check{Kind: TCP}, good, "connected"},
		{"tcp is refused where nobody listens", nobody, Check{Kind: TCP}, bad, "connection refused"},
		{"http is satisfied by a 200", status(200), Check{Kind: HTTP}, good, "status 200"},
		{"http takes a redirect for the answer and does not follow it", status(302), Check{Kind: HTTP}, good, "status 302"},
		{"http does not take a status that is not expected", status(404), Check{Kind: HTTP}, bad, "status 404, want 200-399"},
		{"http takes any of several ranges", status(404), Check{Kind: HTTP, ExpectStatus: []StatusRange{{200, 200}, {404, 404}}}, good, "status 404"},
		{"http names every range that it wanted", status(500), Check{Kind: HTTP, ExpectStatus: []StatusRange{{200, 299}, {404, 404}}}, bad, "status 500, want 200-299, 404"},
		{"http HEAD needs no body", status(200), Check{Kind: HTTP, Method: "HEAD"}, good, "status 200"},
		{"http is refused where nobody listens", nobody, Check{Kind: HTTP}, bad, "connection refused"},
		{"http waits no longer than the timeout for a hung server", hung, Check{Kind: HTTP, Timeout: 50 * time.Millisecond}, bad, "no answer within 50ms"},
		{"http sees a RST", reset, Check{Kind: HTTP}, bad, "connection reset, no answer"},
		{"http sees a close without an answer", raw(func(c *net.TCPConn) { readRequest(c) }), Check{Kind: HTTP}, bad, "connection closed, no answer"},
		{"http skips what comes before the answer", write("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Check{Kind: HTTP}, good, "status 200"},
		{"http reads a long body only up to its bound", endless, Check{Kind: HTTP, Timeout: 5 * time.Second}, good, "status 200"},
		{"http reads headers only up to its bound", write("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10)), Check{Kind: HTTP}, bad, "headers longer than 65536 bytes"},
		{"http does not take a body that is cut short", write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"), Check{Kind: HTTP}, bad, "connection closed, no end of the answer (status 200)"},
		{"http does not take what is not HTTP", write("SSH-2.0-OpenSSH_9.2\r\n"), Check{Kind: HTTP}, bad, `no answer: malformed HTTP response "SSH-2.0-OpenSSH_9.2"`},
		{"https needs a server that speaks TLS", write("HTTP/1.1 400 Bad Request\r\n\r\n"), Check{Kind: HTTPS}, bad, "no TLS handshake: the backend does not speak TLS"},
		{"https waits no longer than the timeout for the handshake", hung, Check{Kind: HTTPS, Timeout: 50 * time.Millisecond}, bad, "no TLS handshake within 50ms"},
		{"a request that cannot be made is not the backend's fault", status(200), Check{Kind: HTTP, Method: "G T"}, void, `the request cannot be made: net/http: invalid method "G T"`},
		{"an unknown kind is not the backend's fault", hung, Check{Kind: "icmp"}, void, `no probe is called "icmp"`},
	} {
		t.Run(row.promise, func(t *testing.T) {
			got := probe(t.Context(), &net.Dialer{}, row.server(t), row.check.withDefaults())
			if got != (result{row.found, row.reason}) {
				t.Errorf("found %d (%s), want %d (%s)", got.finding, got.reason, row.found, row.reason)
			}
		})
	}
}

func TestHTTPSJudgesTheCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused certificates are the point here
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		promise string
		host    string
		tls     TLS
		found   finding
		reason  string
	}{
		{"one by an unknown authority is not accepted", "", TLS{}, bad, "certificate not accepted: x509: certificate signed by unknown authority"},
		{"one by the given authority, for the address, is accepted", "", TLS{CAFile: ca}, good, "status 200"},
		{"one for the name in Host is accepted", "example.com:443", TLS{CAFile: ca}, good, "status 200"},
		{"the server name goes before Host", "other.test", TLS{CAFile: ca, ServerName: "example.com"}, good, "status 200"},
		{"one for another name is not accepted", "other.test", TLS{CAFile: ca}, bad, "certificate not accepted: x509: certificate is valid for example.com, *.example.com, not other.test"},
		{"any is accepted when it is not to be judged", "other.test", TLS{SkipVerify: true}, good, "status 200"},
		{"a missing CA file is not the backend's fault", "", TLS{CAFile: "/nowhere/ca.pem"}, void, "reading the CA file: open /nowhere/ca.pem: no such file or directory"},
	} {
		t.Run(row.promise, func(t *testing.T) {
			check := Check{Kind: HTTPS, Host: row.host, TLS: row.tls}.withDefaults()
			got := probe(t.Context(), &net.Dialer{}, at(t, server.Listener.Addr()), check)
			if got != (result{row.found, row.reason}) {
				t.Errorf("found %d (%s), want %d (%s)", got.finding, got.reason, row.found, row.reason)
			}
		})
	}
}

func TestEachHTTPProbeIsOneRequestOnAConnectionOfItsOwn(t *testing.T) {
	requests := make(chan *http.Request, 2)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- r }))
	t.Cleanup(server.Close)
	check := Check{Kind: HTTP, Path: "/healthz?deep=1", Host: "shop.example", Method: "GET"}.withDefaults()
	for range 2 {
		if got := probe(t.Context(), &net.Dialer{}, at(t, server.Listener.Addr()), check); got.finding != good {
			t.Fatal(got.reason)
		}
	}
	first, second := <-requests, <-requests
	if first.RemoteAddr == second.RemoteAddr {
		t.Errorf("both came from %s", first.RemoteAddr)
	}
	if first.RequestURI != "/healthz?deep=1" || first.Host != "shop.example" || !first.Close {
		t.Errorf("asked %s of %s, close=%v", first.RequestURI, first.Host, first.Close)
	}
}

func TestCheckMayAskAnotherPort(t *testing.T) {
	b := tcpServer(t, func(*net.TCPConn) {})
	check := Check{Kind: TCP, Port: b.Port}.withDefaults()
	b.Port = 1
	if got := probe(t.Context(), &net.Dialer{}, b, check); got.finding != good {
		t.Error(got.reason)
	}
}

func TestProbesEndWithTheProber(t *testing.T) {
	accepted := make(chan struct{}, 1)
	b := tcpServer(t, func(c *net.TCPConn) { accepted <- struct{}{}; io.Copy(io.Discard, c) })
	p := New(Options{Changed: func(_ Backend, v Verdict) { t.Errorf("heard %s (%s)", v.State, v.Reason) }})
	p.Set(map[Backend]Check{b: {Kind: HTTP, Timeout: time.Minute}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.Run(ctx) }()
	<-accepted
	cancel()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("Run did not return within 5 s of its end, in the middle of a probe")
	}
}
