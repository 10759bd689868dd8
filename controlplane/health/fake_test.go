package health

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeNet is a Dialer whose backends behave as they are told, by address.
type fakeNet struct {
	mu        sync.Mutex
	behaviour map[string]behaviour
	dials     map[string][]time.Duration // since start
	start     time.Time
	open, max int
}

// behaviour is "refuse", "hang" (no answer to the SYN), "silent" (connects and
// says nothing), "exhausted" (no descriptors here) or an HTTP answer.
type behaviour string

const (
	ok       behaviour = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	broken   behaviour = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
	refusing behaviour = "refuse"
	hanging  behaviour = "hang"
	silent   behaviour = "silent"
	starving behaviour = "exhausted"
)

func newFakeNet() *fakeNet {
	return &fakeNet{behaviour: map[string]behaviour{}, dials: map[string][]time.Duration{}, start: time.Now()}
}

func (f *fakeNet) become(b Backend, to behaviour) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behaviour[netip.AddrPortFrom(b.Addr, b.Port).String()] = to
}

func (f *fakeNet) dialled(b Backend) []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials[netip.AddrPortFrom(b.Addr, b.Port).String()]
}

func (f *fakeNet) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	f.mu.Lock()
	is := f.behaviour[address]
	f.dials[address] = append(f.dials[address], time.Since(f.start))
	f.open++
	f.max = max(f.max, f.open)
	f.mu.Unlock()
	defer func() { f.mu.Lock(); f.open--; f.mu.Unlock() }()
	switch is {
	case refusing:
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	case starving:
		return nil, &net.OpError{Op: "dial", Err: syscall.EMFILE}
	case hanging:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	ours, theirs := net.Pipe()
	go serve(theirs, is)
	return ours, nil
}

func serve(conn net.Conn, answer behaviour) {
	defer conn.Close()
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
		return
	}
	if answer != silent {
		io.WriteString(conn, string(answer))
	}
	io.Copy(io.Discard, conn) // until the probe hangs up
}

// change is one call of Options.Changed.
type change struct {
	at      time.Duration
	backend Backend
	Verdict
}

// rig is a Prober on a fake network inside a synctest bubble.
type rig struct {
	*fakeNet
	*Prober
	mu      sync.Mutex
	changes []change
}

// inBubble runs body with a running prober, then ends the prober and waits.
func inBubble(t *testing.T, concurrency int, body func(r *rig)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{fakeNet: newFakeNet()}
		r.Prober = New(Options{Dialer: r.fakeNet, Concurrency: concurrency, Changed: func(b Backend, v Verdict) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changes = append(r.changes, change{time.Since(r.start), b, v})
		}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		body(r)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// pass lets time go by until everything has come to rest.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d) // the bubble's clock, which costs nothing
	synctest.Wait()
}

// heard returns the changes since the last call.
func (r *rig) heard() []change {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.changes
	r.changes = nil
	return out
}

func backend(n int) Backend {
	return Backend{"web", netip.AddrFrom4([4]byte{10, 20, byte(n >> 8), byte(n)}), 80}
}
