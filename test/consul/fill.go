package consul

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"
)

// Fill takes all connections that the agent gives to one address, and those that
// others let go, until the returned function is called: as programs do that ask
// too much. It returns once the agent has refused one.
func (a *Agent) Fill(ctx context.Context) (release func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	var greedy sync.WaitGroup
	refused := make(chan struct{}, 1)
	for range a.options.Limit + 4 {
		greedy.Go(func() {
			for ctx.Err() == nil {
				if a.hold(ctx) {
					select {
					case refused <- struct{}{}:
					default:
					}
				}
				select { // without a pause this would be a flood of connections
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	release = func() { stop(); greedy.Wait() }
	select {
	case <-refused:
		return release, nil
	case <-time.After(startLimit):
		release()
		return nil, errors.New("the agent refuses no connection")
	}
}

// hold keeps one connection as long as it lasts, and tells whether it was one too
// many: to such a one alone the agent says something.
func (a *Agent) hold(ctx context.Context) (tooMany bool) {
	conn, err := a.dial(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	n, _ := conn.Read(make([]byte, 512))
	return n > 0
}

func (a *Agent) dial(ctx context.Context) (net.Conn, error) {
	dial := a.options.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return dial(ctx, "tcp", strings.TrimPrefix(a.HTTP, "http://"))
}
