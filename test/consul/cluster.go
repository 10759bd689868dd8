package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"syscall"

	"github.com/hashicorp/consul/api"
	"golang.org/x/sync/errgroup"
)

// Cluster is three servers, which keep what they know on disk, and agents that
// are clients of theirs. All are at one address, on ports of their own.
type Cluster struct {
	Servers []*Agent // server-1 to server-3
	Agents  []*Agent // in the order of their names
}

const servers = 3

// member is what an agent of a cluster knows of the others.
type member struct {
	server bool
	join   []string // the servers' addresses for gossip
}

// StartCluster starts servers and an agent of each name, and returns when all are
// in the catalog. Options.Node is not looked at.
func StartCluster(ctx context.Context, options Options, agents ...string) (*Cluster, error) {
	options = options.withDefaults()
	for attempt := 1; ; attempt++ {
		c, err := startClusterOnce(ctx, options, agents)
		if err == nil || attempt == 3 || !portTaken(err) {
			return c, err
		}
	}
}

func startClusterOnce(ctx context.Context, options Options, names []string) (*Cluster, error) {
	c := &Cluster{}
	if err := errors.Join(c.add(options, names), c.prepare()); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	var starting errgroup.Group
	for _, a := range c.all() {
		starting.Go(func() error { return a.Restart(ctx) })
	}
	if err := starting.Wait(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) add(options Options, names []string) error {
	for n := range servers {
		options.Node = fmt.Sprintf("server-%d", n+1)
		a, err := newAgent(options)
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, a)
	}
	for _, name := range names {
		options.Node = name
		a, err := newAgent(options)
		if err != nil {
			return err
		}
		c.Agents = append(c.Agents, a)
	}
	return nil
}

func (c *Cluster) prepare() error {
	all := c.all()
	if err := all[0].choosePorts(all[1:]...); err != nil {
		return err
	}
	var join []string
	for _, s := range c.Servers {
		join = append(join, net.JoinHostPort(s.options.Address, fmt.Sprint(s.ports.serfLAN)))
	}
	var errs []error
	for n, a := range all {
		a.member = &member{server: n < servers, join: join}
		errs = append(errs, a.prepare())
	}
	return errors.Join(errs...)
}

// all are the servers and the agents.
func (c *Cluster) all() []*Agent { return append(append([]*Agent(nil), c.Servers...), c.Agents...) }

// configure makes a configuration of an agent that of the member.
func (m *member) configure(a *Agent, config map[string]any) {
	maps.Copy(config, map[string]any{
		"server": m.server, "node_name": a.options.Node, "data_dir": a.data(), "log_level": "info",
		"bind_addr": a.options.Address, "client_addr": a.options.Address,
		"retry_join": m.join, "retry_interval": "200ms",
		// An agent that is asked to end leaves, as README advises for backends; a
		// server never does.
		"leave_on_terminate": !m.server, "skip_leave_on_interrupt": m.server,
		"connect": map[string]bool{"enabled": false},
		// The shortest elections, and no pause before the end.
		"performance": map[string]any{"raft_multiplier": 1, "leave_drain_time": "0s"},
		"ports": map[string]int{
			"http": a.ports.http, "https": -1, "server": a.ports.server, "serf_lan": a.ports.serfLAN, "serf_wan": -1,
			"dns": -1, "grpc": -1, "grpc_tls": -1,
		},
	})
	if m.server {
		config["bootstrap_expect"] = servers
	}
}

func (a *Agent) data() string { return a.file("data") }

// Forget takes from a killed member what it has on disk.
func (a *Agent) Forget() error { return os.RemoveAll(a.data()) }

// Leave ends an agent as its host's shutdown would: it tells the others, and its
// node is gone from the catalog.
func (c *Cluster) Leave(ctx context.Context, a *Agent) error {
	if err := a.end(syscall.SIGTERM); err != nil {
		return err
	}
	// A young agent may register its services once more after it has left. Who
	// leads would notice within a minute.
	_, err := c.Servers[0].api.Catalog().Deregister(&api.CatalogDeregistration{Node: a.options.Node}, (&api.WriteOptions{}).WithContext(ctx))
	return err
}

// Leader is the server that leads, as a server says.
func (c *Cluster) Leader() (*Agent, error) {
	var errs []error
	for _, asked := range c.Servers {
		address, err := asked.api.Status().Leader()
		for _, s := range c.Servers {
			if err == nil && address == net.JoinHostPort(s.options.Address, fmt.Sprint(s.ports.server)) {
				return s, nil
			}
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no server of %d knows who leads: %w", len(c.Servers), errors.Join(errs...))
}

// KillServers ends all servers at once, as a power cut would.
func (c *Cluster) KillServers() error { return each(c.Servers, (*Agent).Kill) }

// RestartServers starts them again, with what they have on disk.
func (c *Cluster) RestartServers(ctx context.Context) error {
	return each(c.Servers, func(a *Agent) error { return a.Restart(ctx) })
}

// Stop ends all gently enough and removes their files.
func (c *Cluster) Stop() error {
	// Agents that were asked to end would first leave, which needs the servers.
	return each(c.all(), func(a *Agent) error { return errors.Join(a.Kill(), a.Stop()) })
}

func each(agents []*Agent, do func(*Agent) error) error {
	var all errgroup.Group
	for _, a := range agents {
		all.Go(func() error { return do(a) })
	}
	return all.Wait()
}
