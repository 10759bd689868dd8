// Converge measures how long packets go on to a backend whose check has turned
// critical in Consul: from before Consul is told of it to the last packet that
// arrives there, by the kernel's timestamps. In the same run it measures when Consul
// tells whoever waits for it, which is the least that anybody can take.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pointsman/pointsman/test/balancer"
	"github.com/pointsman/pointsman/test/lab"
	"github.com/pointsman/pointsman/test/traffic"
)

func main() {
	binary := flag.String("binary", "bin/pointsman", "the program")
	samples := flag.Int("samples", 200, "how often a check turns critical")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	path, err := filepath.Abs(*binary)
	if err == nil {
		err = run(ctx, path, *samples)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, samples int) (err error) {
	network, err := lab.New(lab.Options{Backends: 2})
	if err != nil {
		return err
	}
	s := &stage{Balancer: balancer.New(network, binary)}
	defer func() { err = errors.Join(err, s.Close(), network.Close()) }()
	if err := network.Router.AddRoute(traffic.FloodNet, network.Client.Addr4); err != nil {
		return err // without it the router takes the flood's senders for forged
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	arrivals, err := watchArrivals(network.Backends[0])
	if err != nil {
		return err
	}
	defer arrivals.Close()
	ctx, cancel := context.WithCancel(ctx)
	flooded := make(chan error, 1)
	go func() {
		_, err := traffic.Flood{From: network.Client, To: vip, Rate: packetRate}.Run(ctx)
		flooded <- err
	}()
	defer func() { cancel(); err = errors.Join(err, <-flooded) }()
	var told, silent []time.Duration
	for n := range samples {
		sample, err := s.sample(ctx, arrivals)
		if err != nil {
			return fmt.Errorf("sample %d: %w", n+1, err)
		}
		told, silent = append(told, sample.told), append(silent, sample.silent)
		if (n+1)%20 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d\n", n+1, samples)
		}
	}
	fmt.Printf("%-46s %8s %8s %8s %8s\n", fmt.Sprintf("ms after a check turns critical, %d times", samples), "p50", "p95", "p99", "most")
	row("Consul tells whoever waits", told)
	row("the last packet arrives at the backend", silent)
	return nil
}

func row(what string, times []time.Duration) {
	slices.Sort(times)
	fmt.Printf("%-46s", what)
	for _, percent := range []int{50, 95, 99, 100} {
		fmt.Printf(" %8.2f", float64(times[(len(times)*percent+99)/100-1].Microseconds())/1000)
	}
	fmt.Println()
}

// stage is a balancer that asks Consul who stands behind one service.
type stage struct{ *balancer.Balancer }

func (s *stage) open(ctx context.Context) error {
	if err := s.StartConsul(ctx, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }); err != nil {
		return err
	}
	for _, b := range s.Lab.Backends {
		err := s.Consul.Client().Agent().ServiceRegister(&api.AgentServiceRegistration{
			ID: b.Name, Name: "web", Address: b.Addr4.String(), Port: int(vip.Port()),
			Check: &api.AgentServiceCheck{CheckID: b.Name, TTL: "1h", Status: api.HealthPassing},
		})
		if err != nil {
			return fmt.Errorf("registering %s with Consul: %w", b.Name, err)
		}
	}
	err := s.Configure(fmt.Sprintf(`
interfaces = ["eth0"]
vip_pools  = [%q]
state_dir  = %q
consul { address = %q }
service "web" {
  listen = ["%s/tcp"]
  forward = "ipip"
  consul {}
}
`, lab.VIPNet4, s.StateDir(), s.Consul.HTTP, vip))
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	_, err = s.AwaitReady(ctx)
	return err
}
