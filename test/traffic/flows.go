package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// Flow is a TCP connection, be it HTTP's, or a UDP socket that stays open.
type Flow struct {
	Backend string    // who answered first
	Client  net.Addr  // the client's address and port
	Broken  error     // why it broke: an error, silence, or another backend
	At      time.Time // when it broke
	kind    Kind
	conn    net.Conn
	lines   *bufio.Reader
	over    atomic.Bool  // broken or closed
	asked   atomic.Int64 // when the last question was, in ns, that was answered
}

// Flows are long-lived flows to one VIP.
type Flows []*Flow

// Open opens flows, one after the other. Each must be answered before the
// context ends.
func Open(ctx context.Context, from *lab.Host, kind Kind, to netip.AddrPort, count int) (Flows, error) {
	var flows Flows
	for range count {
		f, err := openFlow(ctx, from, kind, to)
		if err != nil {
			flows.Close()
			return nil, fmt.Errorf("opening flow %d of %d to %s: %w", len(flows)+1, count, to, err)
		}
		flows = append(flows, f)
	}
	return flows, nil
}

func openFlow(ctx context.Context, from *lab.Host, kind Kind, to netip.AddrPort) (*Flow, error) {
	conn, err := dial(ctx, from, kind, to)
	if err != nil {
		return nil, err
	}
	f := &Flow{Client: conn.LocalAddr(), kind: kind, conn: conn, lines: bufio.NewReader(conn)}
	deadline, _ := ctx.Deadline() // none is none for ask, too
	if kind == TCP {
		f.Backend, err = f.lines.ReadString('\n')
		f.Backend = strings.TrimSpace(f.Backend)
	} else {
		f.Backend, err = f.ask("first", deadline)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return f, nil
}

// Use says something on every flow that is not broken and waits for the answers
// until the timeout. It returns the flows that broke just now.
func (flows Flows) Use(timeout time.Duration) Flows {
	var used sync.WaitGroup
	var broken Flows
	for _, f := range flows {
		if f.Broken == nil {
			used.Go(func() { f.use(timeout) })
			broken = append(broken, f)
		}
	}
	used.Wait()
	return broken.Broken()
}

// use tells whether the flow broke. One that somebody closes meanwhile did not.
func (f *Flow) use(patience time.Duration) bool {
	began := time.Now()
	question := began.Format(time.RFC3339Nano)
	name, err := f.ask(question, began.Add(patience))
	if err == nil && name != f.Backend {
		err = fmt.Errorf("it was %s's and is now %s's", f.Backend, name)
	}
	if err == nil {
		f.asked.Store(began.UnixNano())
		return false
	}
	if !f.over.CompareAndSwap(false, true) {
		return false
	}
	f.Broken, f.At = err, time.Now()
	return true
}

func (f *Flow) ask(question string, deadline time.Time) (string, error) {
	if f.kind == UDP {
		return f.askUDP(question, deadline)
	}
	if err := f.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if f.kind == HTTP {
		return f.askHTTP()
	}
	if _, err := io.WriteString(f.conn, question+"\n"); err != nil {
		return "", err
	}
	answer, err := f.lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	name, echo, _ := strings.Cut(strings.TrimSpace(answer), " ")
	if echo != question {
		return "", fmt.Errorf("asked %q, got %q", question, answer)
	}
	return name, nil
}

// askHTTP sends a request on the connection and leaves it open.
func (f *Flow) askHTTP() (string, error) {
	if _, err := io.WriteString(f.conn, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(f.lines, nil)
	if err != nil {
		return "", err
	}
	return whoAnswers(response)
}

// again is after how long a datagram counts as lost. A lost one breaks no flow.
const again = 250 * time.Millisecond

// askUDP asks until there is an answer. Answers to earlier questions are late,
// and tell only who gave them.
func (f *Flow) askUDP(question string, deadline time.Time) (string, error) {
	for {
		if err := f.conn.SetDeadline(sooner(deadline, time.Now().Add(again))); err != nil {
			return "", err
		}
		name, err := exchange(f.conn, question)
		for errors.Is(err, errLate) && (f.Backend == "" || name == f.Backend) {
			name, err = answer(f.conn, question)
		}
		switch {
		case err == nil, errors.Is(err, errLate):
			return name, nil
		case !errors.Is(err, os.ErrDeadlineExceeded), !deadline.IsZero() && time.Now().After(deadline):
			return "", err
		}
	}
}

// sooner takes the zero time for none.
func sooner(deadline, other time.Time) time.Time {
	if deadline.IsZero() || other.Before(deadline) {
		return other
	}
	return deadline
}

// Broken are the flows that have broken.
func (flows Flows) Broken() Flows {
	return flows.where(func(f *Flow) bool { return f.Broken != nil })
}

// Of are the flows that belong to a backend.
func (flows Flows) Of(backend string) Flows {
	return flows.where(func(f *Flow) bool { return f.Backend == backend })
}

func (flows Flows) where(is func(*Flow) bool) Flows {
	return slices.DeleteFunc(slices.Clone(flows), func(f *Flow) bool { return !is(f) })
}

// Counts are the flows by backend, broken ones too.
func (flows Flows) Counts() map[string]int {
	counts := map[string]int{}
	for _, f := range flows {
		counts[f.Backend]++
	}
	return counts
}

// Close closes all flows. None of them breaks by that.
func (flows Flows) Close() {
	for _, f := range flows {
		f.over.Store(true)
		f.conn.Close()
	}
}
