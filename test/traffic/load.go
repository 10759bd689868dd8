// Package traffic plays the clients of a lab: many short requests, each a new
// flow, or a few long-lived flows, and who answered them.
package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/test/lab"
)

// Kind says which of a backend's servers to ask.
type Kind string

// The kinds of lab.Ports.
const (
	HTTP Kind = "http"
	TCP  Kind = "tcp"
	UDP  Kind = "udp"
)

// Load is a number of requests, each on a connection or socket of its own.
type Load struct {
	From     *lab.Host
	Kind     Kind
	To       netip.AddrPort
	Requests int           // 0 is until the context ends
	Workers  int           // requests at a time; 0 is 1
	Pause    time.Duration // of a worker between two requests
	Timeout  time.Duration // of one request; 0 is a second
}

// Answer is what became of one request.
type Answer struct {
	Sent    time.Time
	Took    time.Duration
	Backend string // who answered; empty with Err
	Err     error
}

// Answers are in the order in which the requests were sent.
type Answers []Answer

// Run sends the requests. Those under way when the context ends are still
// waited for.
func (l Load) Run(ctx context.Context) Answers {
	if l.Timeout == 0 {
		l.Timeout = time.Second
	}
	var (
		sent    atomic.Int64
		lock    sync.Mutex
		answers Answers
		workers sync.WaitGroup
	)
	for range max(l.Workers, 1) {
		workers.Go(func() {
			for ctx.Err() == nil && (l.Requests == 0 || sent.Add(1) <= int64(l.Requests)) {
				a := l.ask(context.WithoutCancel(ctx))
				lock.Lock()
				answers = append(answers, a)
				lock.Unlock()
				pause(ctx, l.Pause)
			}
		})
	}
	workers.Wait()
	answers.Sort()
	return answers
}

func pause(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (l Load) ask(ctx context.Context) Answer {
	ctx, cancel := context.WithTimeout(ctx, l.Timeout)
	defer cancel()
	a := Answer{Sent: time.Now()}
	switch l.Kind {
	case HTTP:
		a.Backend, a.Err = askHTTP(ctx, l.From, l.To)
	case TCP:
		a.Backend, a.Err = askTCP(ctx, l.From, l.To)
	case UDP:
		a.Backend, a.Err = askUDP(ctx, l.From, l.To)
	default:
		a.Err = fmt.Errorf("no such kind of traffic: %q", l.Kind)
	}
	a.Took = time.Since(a.Sent)
	return a
}

func askHTTP(ctx context.Context, from *lab.Host, to netip.AddrPort) (string, error) {
	transport := &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to.String()+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	return whoAnswers(response)
}

// whoAnswers is the name in the body.
func whoAnswers(response *http.Response) (string, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", response.Status)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(body)), nil
}

func askTCP(ctx context.Context, from *lab.Host, to netip.AddrPort) (string, error) {
	conn, err := dial(ctx, from, TCP, to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(greeting), nil
}

func askUDP(ctx context.Context, from *lab.Host, to netip.AddrPort) (string, error) {
	conn, err := dial(ctx, from, UDP, to)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return exchange(conn, "who")
}

// exchange sends one datagram and returns the name that comes back before it.
func exchange(conn net.Conn, question string) (string, error) {
	if _, err := io.WriteString(conn, question); err != nil {
		return "", err
	}
	return answer(conn, question)
}

// errLate is of an answer to another question. There is a name beside it.
var errLate = errors.New("the answer is to another question")

func answer(conn net.Conn, question string) (string, error) {
	answer := make([]byte, 2048)
	n, err := conn.Read(answer)
	if err != nil {
		return "", err
	}
	name, echo, found := strings.Cut(string(answer[:n]), " ")
	switch {
	case !found:
		return "", fmt.Errorf("asked %q, got %q", question, answer[:n])
	case echo != question:
		return name, fmt.Errorf("asked %q, got %q: %w", question, answer[:n], errLate)
	}
	return name, nil
}

// dial gives the connection the deadline of the context.
func dial(ctx context.Context, from *lab.Host, kind Kind, to netip.AddrPort) (net.Conn, error) {
	network := "tcp"
	if kind == UDP {
		network = "udp"
	}
	conn, err := from.Dial(ctx, network, to.String())
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// Counts are the answers by backend.
func (a Answers) Counts() map[string]int {
	counts := map[string]int{}
	for _, answer := range a {
		if answer.Err == nil {
			counts[answer.Backend]++
		}
	}
	return counts
}

// Backends are the names that answered, sorted.
func (a Answers) Backends() []string { return slices.Sorted(maps.Keys(a.Counts())) }

// Failed are the requests that got no answer.
func (a Answers) Failed() Answers {
	return slices.DeleteFunc(slices.Clone(a), func(a Answer) bool { return a.Err == nil })
}

// Since are the requests that were sent at a time or later.
func (a Answers) Since(t time.Time) Answers {
	i := slices.IndexFunc(a, func(a Answer) bool { return !a.Sent.Before(t) })
	if i < 0 {
		return nil
	}
	return a[i:]
}

// Latency is how long the given share of the answered requests took at most;
// 0.5 asks for the median. No answers took no time.
func (a Answers) Latency(share float64) time.Duration {
	var took []time.Duration
	for _, answer := range a {
		if answer.Err == nil {
			took = append(took, answer.Took)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(int(share*float64(len(took))), len(took)-1)]
}

// Sort puts answers of several loads in the order in which they were sent.
func (a Answers) Sort() {
	slices.SortFunc(a, func(a, b Answer) int { return a.Sent.Compare(b.Sent) })
}
