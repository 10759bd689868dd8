package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"
)

// Dialer opens connections to backends. *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// answerLimit bounds what is read of one answer, headers and body.
const answerLimit = 64 << 10

// result is what one probe has found.
type result struct {
	finding finding
	reason  string
}

// finding is void where this host could not ask: out of descriptors, an
// unreadable CA file. That says nothing about the backend.
type finding uint8

const (
	void finding = iota
	good
	bad
)

// probe asks one backend once, on a connection of its own.
func probe(ctx context.Context, dialer Dialer, b Backend, c Check) result {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	port := b.Port
	if c.Port != 0 {
		port = c.Port
	}
	address := netip.AddrPortFrom(b.Addr, port)
	conn, err := dialer.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return explain(ctx, err, "connection", c.Timeout)
	}
	defer conn.Close()
	// One mechanism for the timeout and for the end of the prober.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	switch c.Kind {
	case TCP:
		return result{good, "connected"}
	case HTTP:
		return askHTTP(ctx, conn, address, c)
	case HTTPS:
		config, err := c.TLS.config(c.Host, b.Addr)
		if err != nil {
			return result{void, err.Error()}
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return explain(ctx, err, "TLS handshake", c.Timeout)
		}
		defer secured.Close() // says goodbye, which spares the backend's log
		return askHTTP(ctx, secured, address, c)
	}
	return result{void, fmt.Sprintf("no probe is called %q", c.Kind)}
}

// askHTTP sends one request and reads one answer. It is written on the plain
// connection rather than with http.Client, whose pools, redirects, proxies and
// goroutines a probe has no use for.
func askHTTP(ctx context.Context, conn net.Conn, address netip.AddrPort, c Check) result {
	request, err := http.NewRequest(c.Method, "http://"+address.String()+c.Path, nil)
	if err != nil {
		return result{void, fmt.Sprintf("the request cannot be made: %v", err)}
	}
	request.Host = c.Host // "" is the URL's
	request.Close = true
	request.Header.Set("User-Agent", "pointsman-health")
	if err := request.Write(conn); err != nil {
		return explain(ctx, err, "answer", c.Timeout)
	}
	bounded := &io.LimitedReader{R: conn, N: answerLimit}
	answer := bufio.NewReader(bounded)
	response, err := http.ReadResponse(answer, request)
	for err == nil && response.StatusCode < 200 && response.StatusCode != http.StatusSwitchingProtocols {
		response, err = http.ReadResponse(answer, request) // 1xx come before the answer (RFC 9110, 15.2)
	}
	if err != nil {
		return explainAnswer(ctx, err, bounded, c.Timeout)
	}
	defer response.Body.Close()
	if !c.expects(response.StatusCode) {
		return result{bad, fmt.Sprintf("status %d, want %s", response.StatusCode, c.expected())}
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil && bounded.N > 0 {
		return explain(ctx, err, fmt.Sprintf("end of the answer (status %d)", response.StatusCode), c.Timeout)
	}
	return result{good, fmt.Sprintf("status %d", response.StatusCode)}
}

// config makes the TLS settings of one probe. The CA file is read each time,
// so a rotated one needs no reload.
func (t TLS) config(host string, addr netip.Addr) (*tls.Config, error) {
	config := &tls.Config{
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.SkipVerify,
		NextProtos:         []string{"http/1.1"},
	}
	if config.ServerName == "" {
		config.ServerName = hostOnly(host)
	}
	if config.ServerName == "" {
		config.ServerName = addr.String()
	}
	if t.CAFile == "" {
		return config, nil
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA file %s holds no certificate", t.CAFile)
	}
	return config, nil
}

func hostOnly(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.Trim(host, "[]")
}
