package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pointsman/pointsman/test/traffic"
)

// connectionCount is enough that many are in slots which a change moves, and so
// few that they do not slow down what is measured.
const connectionCount = 400

// connections stay open through all that happens to the victim, and something
// is said on each of them all the time.
type connections struct {
	*stage
	talks []*traffic.Conversation
	over  sync.WaitGroup
	told  toll // in all, so far
}

// connect opens as many connections to web as are missing, on its VIPs in turn:
// at first all, later those of clients who lost theirs.
func (c *connections) connect(ctx context.Context) error {
	opening, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	missing := connectionCount
	for _, talk := range c.talks {
		missing -= talk.Open()
	}
	for i := range web.vips {
		count := (missing + i) / len(web.vips)
		flows, err := traffic.Open(opening, c.Lab.Client, web.kind, web.listen(i), count)
		if err != nil {
			return err
		}
		talk := &traffic.Conversation{Flows: flows, Every: 400 * time.Millisecond, Patience: 5 * time.Second}
		c.talks = append(c.talks, talk)
		c.over.Go(func() { talk.Run(ctx) })
	}
	return nil
}

func (c *connections) close() {
	for _, talk := range c.talks {
		talk.Flows.Close()
	}
	c.over.Wait()
}

// toll is how many connections broke.
type toll struct {
	victims, others int // the victim's, and those to backends that live
}

// toll waits until each connection has broken or answered a question from now,
// and counts those that have broken since the last time. Those to backends that
// live must not.
func (c *connections) toll(ctx context.Context) (toll, error) {
	asked := time.Now()
	err := c.Await(ctx, 10*time.Second, "every connection is heard or broken", func() error {
		silent := 0
		for _, talk := range c.talks {
			silent += talk.Silent(asked)
		}
		if silent > 0 {
			return fmt.Errorf("%d are silent", silent)
		}
		return nil
	})
	var all toll
	for _, talk := range c.talks {
		for _, f := range talk.Broken() {
			if f.Backend == victim.name {
				all.victims++
				continue
			}
			all.others++
			err = errors.Join(err, fmt.Errorf("the connection from %s to %s broke: %w", f.Client, f.Backend, f.Broken))
		}
	}
	before := c.told
	c.told = all
	return toll{all.victims - before.victims, all.others - before.others}, err
}
