package consul

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"
)

// Reason says in a word why a view is held or a query is refused; it is a label
// of metrics and a column of tables. The empty reason is "nothing is wrong".
type Reason string

// Why an answer was not used.
const (
	Forbidden   Reason = "403"         // the token is unknown, deleted or may not read this
	TooMany     Reason = "429"         // the agent's limit of connections or requests
	Filtered    Reason = "filtered"    // access rules hide some or all instances
	NoLeader    Reason = "no leader"   // the servers cannot answer now
	Unreachable Reason = "unreachable" // no connection, or it broke or timed out
	BadCert     Reason = "certificate" // one side does not accept the other's certificate, or ours cannot be read
	BadQuery    Reason = "bad query"   // Consul does not understand the filter or a name
	NoToken     Reason = "no token"    // the token file cannot be read, or there is no token where one is needed
	Nobody      Reason = "no instance" // Consul knows none, which may be as it should
	BadAnswer   Reason = "bad answer"  // not what Consul's API promises
	HeldEmpty   Reason = "no data"     // an agent that has not heard from the servers yet
	// HeldHistory: instances are missing from an answer that is not newer than
	// the one they were in, as after a snapshot was restored.
	HeldHistory Reason = "index went back"
)

// Fault is an error with its reason and, where one is known, what to do.
type Fault struct {
	Reason Reason
	Advice string
	Err    error
}

func (f *Fault) Error() string {
	if f.Advice == "" {
		return f.Err.Error()
	}
	return f.Err.Error() + "; " + f.Advice
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// Temporary says whether time may mend f: only then may a daemon start with it.
func (f *Fault) Temporary() bool {
	switch f.Reason {
	case Unreachable, NoLeader, TooMany, HeldEmpty, Nobody:
		return true
	}
	return false
}

func fault(reason Reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// reasonOf gives the reason of any error that a Querier returned.
func reasonOf(err error) Reason {
	var f *Fault
	if errors.As(err, &f) {
		return f.Reason
	}
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	if errors.As(err, &untrusted) || errors.As(err, &alert) {
		return BadCert
	}
	var status api.StatusError
	if !errors.As(err, &status) {
		return Unreachable
	}
	switch {
	case status.Code == http.StatusForbidden, status.Code == http.StatusUnauthorized:
		return Forbidden
	case status.Code == http.StatusTooManyRequests:
		return TooMany
	// Consul 1.22 answers 500 to an expression it cannot parse.
	case status.Code == http.StatusBadRequest, strings.Contains(status.Body, "boolean expression"):
		return BadQuery
	case status.Code >= 500:
		return NoLeader
	}
	return BadAnswer
}
