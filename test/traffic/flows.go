package traffic

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// Flow is a TCP connection or a UDP socket that stays open.
type Flow struct {
	Backend string    // who answered first
	Client  net.Addr  // the client's address and port
	Broken  error     // why it broke: an error, silence, or another backend
	At      time.Time // when it broke
	kind    Kind
	conn    net.Conn
	lines   *bufio.Reader
}

// Flows are long-lived flows to one VIP.
type Flows []*Flow

// Open opens flows, TCP or UDP, one after the other. Each must be answered
// before the context ends.
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
	if kind == TCP {
		f.Backend, err = f.lines.ReadString('\n')
		f.Backend = strings.TrimSpace(f.Backend)
	} else {
		f.Backend, err = exchange(conn, "first")
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
			used.Go(func() { f.use(time.Now().Add(timeout)) })
			broken = append(broken, f)
		}
	}
	used.Wait()
	return broken.Broken()
}

func (f *Flow) use(deadline time.Time) {
	question := deadline.Format(time.RFC3339Nano)
	name, err := f.ask(question, deadline)
	if err == nil && name != f.Backend {
		err = fmt.Errorf("it was %s's and is now %s's", f.Backend, name)
	}
	if err != nil {
		f.Broken, f.At = err, time.Now()
	}
}

func (f *Flow) ask(question string, deadline time.Time) (string, error) {
	if err := f.conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if f.kind == UDP {
		return exchange(f.conn, question)
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

// Broken are the flows that have broken.
func (flows Flows) Broken() Flows {
	var broken Flows
	for _, f := range flows {
		if f.Broken != nil {
			broken = append(broken, f)
		}
	}
	return broken
}

// Counts are the flows by backend, broken ones too.
func (flows Flows) Counts() map[string]int {
	counts := map[string]int{}
	for _, f := range flows {
		counts[f.Backend]++
	}
	return counts
}

// Close closes all flows.
func (flows Flows) Close() {
	for _, f := range flows {
		f.conn.Close()
	}
}
