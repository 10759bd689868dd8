// Package health asks backends whether they are well: one Prober owns one
// probe for each backend of each service, by TCP, HTTP or HTTPS, and tells when
// a verdict changes. What follows from a verdict is decided elsewhere.
package health

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// Kind is how a backend is asked.
type Kind string

// TCP is satisfied by an established connection; HTTP and HTTPS by an answer
// with an expected status.
const (
	TCP   Kind = "tcp"
	HTTP  Kind = "http"
	HTTPS Kind = "https"
)

// Defaults of a Check's zero fields.
const (
	DefaultInterval = 2 * time.Second
	DefaultTimeout  = time.Second
	DefaultRise     = 2
	DefaultFall     = 3
)

// Check is how, how often and how strictly a backend is asked. Zero fields
// take the defaults above.
type Check struct {
	Kind Kind
	// Port is asked instead of the backend's own, unless 0.
	Port uint16
	// Interval is from the start of one probe to the start of the next; each
	// pause is drawn from Interval·(1±Jitter), so that probes do not march in step.
	Interval time.Duration
	Jitter   float64 // 0 to 1
	// Timeout is for the whole probe, from the first SYN to the last byte.
	Timeout time.Duration
	// Rise successes in a row make an ill backend well, Fall failures in a row
	// make a well one ill. The first result of all decides alone.
	Rise, Fall int

	Method       string        // of HTTP and HTTPS; "" is GET
	Path         string        // with its query; "" is "/"
	Host         string        // the Host header; "" is the backend's address and port
	ExpectStatus []StatusRange // nil is 200-399; redirects are not followed
	TLS          TLS           // of HTTPS
}

// TLS is how a backend's certificate is judged.
type TLS struct {
	// ServerName is sent (SNI) and must be in the certificate. "" is the name in
	// Host, and without one the backend's IP address.
	ServerName string
	CAFile     string // PEM, read anew for each probe; "" is the system's roots
	SkipVerify bool
}

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ First, Last int }

func (r StatusRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Backend tells probes apart. Services do not share probes, because their
// checks differ.
type Backend struct {
	Service string
	Addr    netip.Addr
	Port    uint16
}

func (b Backend) String() string {
	return b.Service + " " + netip.AddrPortFrom(b.Addr, b.Port).String()
}

// State is what is known of a backend.
type State uint8

// Unknown is the state before the first result.
const (
	Unknown State = iota
	Well
	Ill
)

func (s State) String() string {
	switch s {
	case Well:
		return "well"
	case Ill:
		return "ill"
	}
	return "unknown"
}

// Verdict is what the probes of one backend have come to.
type Verdict struct {
	State  State
	Reason string        // of the last result that agreed with State: "status 503, want 200-399"
	Since  time.Time     // when State began
	Seen   time.Time     // when the first of the results that led to State was asked for
	Took   time.Duration // of the last probe
}

// DetectedIn is how long the probes needed to come to the verdict, from the
// start of the first one that saw the change.
func (v Verdict) DetectedIn() time.Duration { return v.Since.Sub(v.Seen) }

func (c Check) withDefaults() Check {
	c.Interval = orDefault(c.Interval, DefaultInterval)
	c.Timeout = orDefault(c.Timeout, DefaultTimeout)
	c.Rise = orDefault(c.Rise, DefaultRise)
	c.Fall = orDefault(c.Fall, DefaultFall)
	c.Jitter = min(max(c.Jitter, 0), 1)
	if c.Method == "" {
		c.Method = "GET"
	}
	if c.Path == "" {
		c.Path = "/"
	}
	if len(c.ExpectStatus) == 0 {
		c.ExpectStatus = []StatusRange{{200, 399}}
	}
	return c
}

func orDefault[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

func (c Check) same(other Check) bool { return reflect.DeepEqual(c, other) }

func (c Check) expects(status int) bool {
	for _, r := range c.ExpectStatus {
		if r.First <= status && status <= r.Last {
			return true
		}
	}
	return false
}

func (c Check) expected() string {
	words := make([]string, len(c.ExpectStatus))
	for i, r := range c.ExpectStatus {
		words[i] = r.String()
	}
	return strings.Join(words, ", ")
}
