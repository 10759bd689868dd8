package balancer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/pointsman/pointsman/test/consul"
)

// StartConsul runs an agent on the balancer, as an operator would.
func (b *Balancer) StartConsul(ctx context.Context, log consul.Log) error {
	options, err := b.consulOptions(ctx, log)
	if err == nil {
		b.Consul, err = consul.Start(ctx, options)
	}
	return err
}

// StartCluster runs servers and agents on the balancer. The first agent is the
// one that the balancer asks; the others are those of other hosts, which only
// happen to run here.
func (b *Balancer) StartCluster(ctx context.Context, change func(*consul.Options), log consul.Log, agents ...string) error {
	options, err := b.consulOptions(ctx, log)
	if err != nil {
		return err
	}
	change(&options)
	if b.Cluster, err = consul.StartCluster(ctx, options, agents...); err == nil {
		b.Consul = b.Cluster.Agents[0]
	}
	return err
}

func (b *Balancer) consulOptions(ctx context.Context, log consul.Log) (consul.Options, error) {
	binary, err := consul.Find(ctx, log)
	return consul.Options{
		Binary: binary,
		Log:    log,
		Parent: b.Lab.Dir,
		Dial:   b.Host.Dial,
		Start: func(cmd *exec.Cmd) (<-chan struct{}, error) {
			p, err := b.Host.Start(cmd)
			if err != nil {
				return nil, err
			}
			return p.Done(), nil
		},
	}, err
}

func (b *Balancer) stopConsul() error {
	if b.Consul == nil {
		return nil
	}
	stop := b.Consul.Stop
	if b.Cluster != nil {
		stop = b.Cluster.Stop
	}
	err := stop()
	if _, gone := os.Stat(b.Consul.Directory); gone == nil {
		err = errors.Join(err, fmt.Errorf("left behind: %s", b.Consul.Directory))
	}
	b.Consul, b.Cluster = nil, nil
	return err
}
