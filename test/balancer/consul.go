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
	binary, err := consul.Find(ctx, log)
	if err != nil {
		return err
	}
	b.Consul, err = consul.Start(ctx, consul.Options{
		Binary: binary,
		Parent: b.Lab.Dir,
		Dial:   b.Host.Dial,
		Start: func(cmd *exec.Cmd) (<-chan struct{}, error) {
			p, err := b.Host.Start(cmd)
			if err != nil {
				return nil, err
			}
			return p.Done(), nil
		},
	})
	return err
}

func (b *Balancer) stopConsul() error {
	if b.Consul == nil {
		return nil
	}
	err := b.Consul.Stop()
	if _, gone := os.Stat(b.Consul.Directory); gone == nil {
		err = errors.Join(err, fmt.Errorf("left behind: %s", b.Consul.Directory))
	}
	b.Consul = nil
	return err
}
