package stories

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/controlplane/api"
	"github.com/pointsman/pointsman/test/traffic"
)

// house is the service that a crowd uses.
type house struct {
	top      string // what stands beside the service
	settings string // keys of the service
}

// with writes the house's configuration. Weights are those of the backends from
// the first on; one without is not there.
func (h house) with(weights ...int) string {
	var backends strings.Builder
	for i, weight := range weights {
		if weight >= 0 {
			fmt.Fprintf(&backends, "  backend \"{{v%d %d}}\" { weight = %d }\n", 4+i%2*2, i+1, weight)
		}
	}
	return h.top + `
service "crowd" {
  listen = ["192.0.2.1:7000/tcp", "[2001:db8:10::1]:7000/tcp", "192.0.2.1:53/udp", "[2001:db8:10::1]:53/udp"]
  idle_timeout = "5s"
` + h.settings + "\n" + backends.String() + "}"
}

// probed is the same house with checks of its own.
func (h house) probed() house {
	h.settings += `
  health "http" {
    port     = 80
    path     = "/healthz"
    interval = "400ms"
    rise     = 1
    fall     = 3
  }`
	return h
}

// churn changes the house of three backends in every way, and ends with the
// weights that it returns.
func (c *crowd) churn(h house) weights {
	c.t.Helper()
	c.act("nothing changes", func() {})
	c.act("a backend is added", func() {
		c.reload(h.with(1, 1, 1, 2))
		c.newcomers("at once", crowdTCP4, 1000)
		c.join(40, 8)
	})
	c.act("weights change", func() {
		c.reload(h.with(4, 1, 1, 2))
		c.newcomers("at once", crowdTCP6, 1000)
		c.join(40, 8)
	})
	c.act("three changes in quick succession", func() {
		for _, weights := range [][]int{{1, 4, 1, 2}, {1, 1, 4, 2, 1}, {2, 1, 1, 4, 2}} {
			c.reload(h.with(weights...))
			c.join(40, 8)
		}
		c.newcomers("after the last", crowdTCP4, 1000)
	})
	c.act("backend-4 flaps", func() {
		c.reload(h.probed().with(2, 1, 1, 4, 2))
		for range 3 {
			c.flap(4)
		}
		c.reload(h.with(2, 1, 1, 4, 2))
	})
	return weights{"backend-1": 2, "backend-2": 1, "backend-3": 1, "backend-4": 4, "backend-5": 2}
}

// flap makes a backend ill for so long that it is declared dead. Its flows may
// break then, and nobody else's: not those that begin while it is dead either.
func (c *crowd) flap(n int) {
	c.t.Helper()
	b := c.backend(n)
	dead := window{from: time.Now()}
	b.SetWell(false)
	c.awaitState(b.Name, "down")
	c.join(40, 8)
	b.SetWell(true)
	c.awaitState(b.Name, "up")
	dead.to = time.Now().Add(time.Second) // what was answered by others is heard a little later
	c.join(20, 4)
	c.excuse(func(f *traffic.Flow) bool {
		return f.Backend == b.Name && f.At.After(dead.from) && f.At.Before(dead.to)
	})
}

// guest is what pointsman backends says of one of the crowd's backends.
func (c *crowd) guest(name string) (api.Backend, error) {
	now, err := c.service("crowd")
	if err != nil {
		return api.Backend{}, err
	}
	for _, b := range now.Backends {
		if c.name(b.Address) == name {
			return b, nil
		}
	}
	return api.Backend{}, fmt.Errorf("there is no %s", name)
}

func (c *crowd) awaitState(name, state string) {
	c.t.Helper()
	c.awaitStateFor(patience, name, state)
}

func (c *crowd) awaitStateFor(limit time.Duration, name, state string) {
	c.t.Helper()
	c.must(c.Await(c.ctx, limit, name+" is "+state, func() error {
		b, err := c.guest(name)
		if err == nil && b.State != state {
			err = fmt.Errorf("it is %s: %s", b.State, b.Reason)
		}
		return err
	}))
}

// digested waits until only slots are on their way that flows hold back: those
// who are silent or new find the owners that the weights ask for.
func (c *crowd) digested() {
	c.t.Helper()
	c.await("slots without flows go to their owners", func() error {
		now, err := c.service("crowd")
		if err != nil {
			return err
		}
		tcp, udp := now.Phases["tcp"], now.Phases["udp"]
		held := uint32(c.size())
		if tcp.Settled == 0 || udp.Settled+udp.Settling == 0 {
			return errors.New("there are no phases")
		}
		if tcp.Moving > held || udp.Learning > held {
			return fmt.Errorf("of TCP %+v, of UDP %+v, and %d flows are open", tcp, udp, held)
		}
		return nil
	})
}
