package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
)

// Run runs a command of the program on the balancer and returns its stdout.
func (b *Balancer) Run(ctx context.Context, command ...string) ([]byte, error) {
	return b.Host.Run(ctx, b.Binary, command...)
}

// Status is what pointsman status -o json prints.
func (b *Balancer) Status(ctx context.Context) (api.Status, error) {
	var status api.Status
	return status, b.ask(ctx, &status, "status")
}

// Backends are what pointsman backends -o json prints.
func (b *Balancer) Backends(ctx context.Context) (api.Backends, error) {
	var backends api.Backends
	return backends, b.ask(ctx, &backends, "backends")
}

// Services are what pointsman services -o json prints.
func (b *Balancer) Services(ctx context.Context) (api.Services, error) {
	var services api.Services
	return services, b.ask(ctx, &services, "services")
}

func (b *Balancer) ask(ctx context.Context, answer any, command ...string) error {
	out, err := b.Run(ctx, append(command, "-o", "json", "--socket", b.Socket())...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("reading the answer to pointsman %s: %w", strings.Join(command, " "), err)
	}
	return nil
}

// Await asks until there is no problem any more. It gives up after the limit,
// and at once if the daemon has ended.
func (b *Balancer) Await(ctx context.Context, limit time.Duration, what string, problem func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := problem()
		if err == nil {
			return nil
		}
		select {
		case <-b.Daemon.Done():
			return fmt.Errorf("the balancer ended while waiting until %s: %w; its log:\n%s", what, b.Daemon.Wait(), b.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// The kernel checks the program before it takes it, for a second or three where the
// machine is emulated, and for longer where that is busy. What comes after that is
// the daemon's own doing.
const (
	longestStart = 2 * time.Minute
	longestReady = 15 * time.Second
)

// AwaitReady waits until the program is attached and every service is well.
func (b *Balancer) AwaitReady(ctx context.Context) (api.Status, error) {
	var now api.Status
	err := b.Await(ctx, longestStart, "the daemon answers", func() (err error) {
		now, err = b.Status(ctx)
		return err
	})
	if err == nil {
		err = b.Await(ctx, longestReady, "every service is ok", func() (err error) {
			if now, err = b.Status(ctx); err != nil {
				return err
			}
			n := now.Services
			if n.OK == 0 || n.Degraded+n.Down+n.Waiting > 0 {
				return fmt.Errorf("%+v; warnings: %q", n, now.Warnings)
			}
			return Attached(now)
		})
	}
	if err != nil {
		err = fmt.Errorf("%w; the balancer's log:\n%s", err, b.Log())
	}
	return now, err
}

// AwaitLearned waits until no service is learning who talks to whom over UDP:
// until then, slots that go to another backend get no new flows there.
func (b *Balancer) AwaitLearned(ctx context.Context, limit time.Duration) error {
	return b.Await(ctx, limit, "all UDP flows are known", func() error {
		now, err := b.Services(ctx)
		for _, service := range now.Services {
			if n := service.Phases["udp"].Learning; n > 0 {
				err = fmt.Errorf("%d slots of %s are learning", n, service.Name)
			}
		}
		return err
	})
}

// Attached says on which interface the program does not run, if on any.
func Attached(status api.Status) error {
	var errs []error
	for _, i := range status.Interfaces {
		if i.Mode == "missing" {
			errs = append(errs, fmt.Errorf("interface %s: %s", i.Name, i.Reason))
		}
	}
	return errors.Join(errs...)
}

// Explain is what pointsman explain -o json prints.
func (b *Balancer) Explain(ctx context.Context, protocol, client, vip string) (api.Explanation, error) {
	var explained api.Explanation
	return explained, b.ask(ctx, &explained, "explain", protocol, client, vip)
}

// Flows are what pointsman flows -o json prints.
func (b *Balancer) Flows(ctx context.Context, flags ...string) (api.Flows, error) {
	var flows api.Flows
	return flows, b.ask(ctx, &flows, append([]string{"flows"}, flags...)...)
}
