package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// ours are the errors that say something about this host and nothing about
// the backend. Taking backends out for them would empty a pool because the
// balancer has run out of descriptors.
var ours = []error{
	syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
	syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT,
}

// explain turns the error that ended a probe into a result. awaited is what the
// probe was waiting for.
func explain(ctx context.Context, err error, awaited string, timeout time.Duration) result {
	if errors.Is(ctx.Err(), context.Canceled) {
		return result{void, "the probe was ended"}
	}
	for _, local := range ours {
		if errors.Is(err, local) {
			return result{void, fmt.Sprintf("this host cannot ask: %v", local)}
		}
	}
	return result{bad, describe(ctx, err, awaited, timeout)}
}

func describe(ctx context.Context, err error, awaited string, timeout time.Duration) string {
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return fmt.Sprintf("no %s within %s", awaited, timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Sprintf("connection reset, no %s", awaited)
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to host"
	case errors.Is(err, syscall.ENETUNREACH):
		return "network unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("connection closed, no %s", awaited)
	case errors.As(err, &certificate):
		return fmt.Sprintf("certificate not accepted: %v", certificate.Err)
	case errors.As(err, &record):
		return "no TLS handshake: the backend does not speak TLS"
	}
	return fmt.Sprintf("no %s: %v", awaited, err)
}

// explainAnswer is explain for an answer that could not be read as HTTP.
func explainAnswer(ctx context.Context, err error, bounded *io.LimitedReader, timeout time.Duration) result {
	if bounded.N <= 0 {
		return result{bad, fmt.Sprintf("headers longer than %d bytes", answerLimit)}
	}
	return explain(ctx, err, "answer", timeout)
}
